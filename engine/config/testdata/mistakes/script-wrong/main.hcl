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
  deliver "missing" {
    to  = destination.webhook.scheduling
    map = "apointment.js"
  }
  deliver "broken" {
    to  = destination.webhook.scheduling
    map = "broken.js"
  }
  deliver "directory" {
    to  = destination.webhook.scheduling
    map = "."
  }
}
