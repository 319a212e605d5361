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
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "a" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = fetched["provider"].id
  }
}

pipeline "q" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "a" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = fetched.patient.id
  }
}
