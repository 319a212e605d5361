variable "site" { default = "main" }
locals { zone = "UTC" }
table "codes" { values = { A = "a" } }

source "rest" "clinic" {
  base_url = var.sites
  timeout  = locals.zone
  auth "basic" {
    username = zone
    password = site
  }
  feed "appointments" {
    path    = local.Zone
    id      = var
    version = table.code["A"]
    time    = table.codes["B"]
    class   = var.site.name
    ignore  = [var["sight"], table]
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
    order_by = "${var.sight}/${local}/${table.codes.B}/${site}/${locals.zone}"
  }
  deliver "other" {
    to       = destination.stdout.screen
    map      = "a.js"
    order_by = "${secret(var.site)}${[for var in change.data.list : secret(var)][0]}"
  }
  deliver "third" {
    to       = destination.stdout.screen
    map      = "a.js"
    order_by = table.codes
  }
  deliver "fourth" {
    to       = destination.stdout.screen
    map      = "a.js"
    order_by = table.codes[env(change.data.code)]
  }
}
