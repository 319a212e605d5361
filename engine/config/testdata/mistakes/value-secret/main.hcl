source "rest" "clinic" {
  base_url = env("CANARY_ENV")
  timeout  = env("CANARY_ENV")
  feed "appointments" {
    path    = file("canary.txt")
    id      = "id"
    class   = env("NEAR_TIMESTAMP")
    ignore  = [file("canary.txt"), 7, [secret("canary")]]
    headers = { (secret("canary")) = { x = env("CANARY_ENV") } }
    query   = { for s in [secret("canary"), secret("canary")] : s => s }
  }
  limits {
    concurrency = secret("canary")
    per_second  = env("CANARY_ENV") + 1
  }
}

destination "webhook" "scheduling" {
  url             = env("CANARY_ENV")[0]
  signing_secrets = "CANARY-LITERAL"
  parallel        = env("CANARY_ENV")
}
