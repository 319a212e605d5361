locals {
  wide      = format("%999999999d", 1)
  many      = replace(local.long, "", local.long)
  matched   = replace(local.long, "/./", local.long)
  joined    = join(local.long, split("", local.long))
  repeated  = format("%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s", replace(local.long, "", local.short))
  long      = join(",", [for x in split("", "${local.short}${local.short}${local.short}${local.short}${local.short}${local.short}") : local.short])
  short     = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
  power     = pow(10, 300) * 1
  infinite  = pow(1e300, 2)
  logarithm = log(-1, 10)
  number    = tonumber("seven")
  pattern   = regex("(", "x")
  nothing   = regex("a", "b")
  json      = jsondecode("{")
  date      = formatdate("YYYY", "yesterday")
  null      = upper(null)
  length    = length(5)
  cutting   = substr("abc", "x", 1)
  looked    = lookup(["a"], "a", "b")
  secret    = tonumber(secret("canary"))
  marked    = formatdate("YYYY", env("CANARY_ENV"))
  inside    = jsondecode("[${file("canary.txt")}")
}

source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
}

destination "stdout" "screen" {}

pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "a.js"
    filter   = startswith(change.data.code)
    order_by = split("/", change.data.path)
  }
}
