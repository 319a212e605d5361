source "rest" "clinic" {
  base_url = ["https://ehr.example"]
  timeout  = 60
  isolate  = "perhaps"
  feed "appointments" {
    path    = { a = 1 }
    id      = "id"
    class   = "timestmp"
    headers = ["a"]
    ignore  = "lastUpdated"
  }
  limits {
    concurrency = 1.5
    per_second  = "many"
  }
}

destination "webhook" "scheduling" {
  url       = "https://receiver.example"
  parallel  = 0
  on_reject = "deadletter"
  timeout   = "2d"
}

pipeline "appointments" {
  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "10ms"
    overlap = "-2m"
    start   = "yesterday"
    timeout = "soon"
  }
  deliver "scheduling" {
    to  = destination.webhook.scheduling
    map = ""
  }
}
