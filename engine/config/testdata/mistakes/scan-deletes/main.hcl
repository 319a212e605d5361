source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path  = "/appointments"
    id    = "id"
    class = "scan"
  }
  resource "appointment" { path = "/appointments/{id}" }
}

destination "stdout" "screen" {}

pipeline "resource" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
    confirm = "appointments"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "share" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
    confirm     = "appointment"
    max_deleted = 10
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "alone" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
    max_deleted = 0.5
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "text" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
    confirm     = "appointment"
    max_deleted = "10%"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "reference" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
    confirm = source.rest.clinic.resource.appointment
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}
