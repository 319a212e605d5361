source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  resource "patient" {
    path = "/patient/{id}"
  }
  resource "provider" {
    path = "/provider/{id}"
  }
}

destination "webhook" "scheduling" {
  url = "https://receiver.example"
}

pipeline "a" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" {
    id = change.dta.patientID
  }
  fetch "provider" {
    id = change.patientID
  }
  deliver "by-text" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = "change.data.patientID"
  }
  deliver "by-everything" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = change
  }
  deliver "by-nothing" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = "${data.patientID}-${patient.id}-${fetch.patient.id}"
  }
  deliver "by-list" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = [change.id, change.kind]
  }
  deliver "by-inside-of-text" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = change.id.value
  }
  deliver "by-index" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = change.data.list[1.5]
  }
  deliver "by-splat" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = change.data.list[*].id
  }
  deliver "by-secret" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = "${secret("missing")}-${env(change.data.name)}"
  }
  deliver "by-missing-secret" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = "${secret("missing")}-${change.id}"
  }
  deliver "by-fetched" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = fetched.patent.id
  }
  deliver "by-all-fetched" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = fetched
  }
  deliver "by-key" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = { change.id = "x" }["#0"]
  }
}
