source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  resource "patient" { path = "/patient/{id}" }
  resource "provider" { path = "/provider/{id}" }
}

destination "stdout" "screen" {}

pipeline "resource" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
  }
  expand "orders" {
    id  = change.id
    key = "id"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "attributes" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
  }
  expand "patient" {
    from = "provder"
    ky   = "id"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "fetched" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
  }
  expand "provider" {
    id    = fetched.patient.id
    key   = "a..b"
    items = "."
  }
  fetch "patient" { id = change.id }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "twice" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
  }
  expand "patient" {
    id  = change.id
    key = "id"
  }
  expand "provider" {
    id  = parent.id
    key = "id"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "no-parent" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
    order_by = parent.id
  }
}

pipeline "parent" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1h"
  }
  expand "patient" {
    id  = change.id
    key = "id"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
    order_by = "${parent}-${parent.identifier}-${parent.id.x}"
  }
}
