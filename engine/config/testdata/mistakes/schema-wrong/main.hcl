source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
}

destination "webhook" "scheduling" {
  url = "https://receiver.example"
}

pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "misspelt" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    validate = "redox/shceduling"
  }
  deliver "unknown" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    validate = "redox/claims"
  }
  deliver "missing" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    validate = "oder.json"
  }
  deliver "broken" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    validate = "broken.json"
  }
  deliver "directory" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    validate = "."
  }
  deliver "empty" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    validate = ""
  }
  deliver "wrong_type" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    validate = ["order.json"]
  }
}
