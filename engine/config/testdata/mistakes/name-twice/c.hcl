pipeline "a" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  fetch "patient" {
    id = change.data.otherID
  }
  deliver "d" {
    to  = destination.webhook.scheduling
    map = "a.js"
  }
  deliver "d" {
    to  = destination.webhook.scheduling
    map = "a.js"
  }
}

source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  resource "patient" {
    path = "/patient/{id}"
  }
}
