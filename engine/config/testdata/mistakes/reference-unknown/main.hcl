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

destination "webhook" "scheduling" {
  url = "https://receiver.example"
}

pipeline "a" {
  poll {
    feed  = source.rest.clinc.feed.appointments
    every = "1m"
  }
  deliver "scheduling" {
    to  = destination.webhok.scheduling
    map = "a.js"
  }
}

pipeline "b" {
  poll {
    feed  = source.rest.clinic.feed.apointments
    every = "1m"
  }
  fetch "patients" {
    id = change.data.patientID
  }
  deliver "scheduling" {
    to  = destination.webhook
    map = "a.js"
  }
}

pipeline "c" {
  poll {
    feed  = source.rest.clinic
    every = "1m"
  }
  deliver "scheduling" {
    to  = source.rest.clinic
    map = "a.js"
  }
}

pipeline "d" {
  poll {
    feed  = source.rest.clinic.appointments
    every = "1m"
  }
  deliver "scheduling" {
    to  = destination.file.log
    map = "a.js"
  }
}
