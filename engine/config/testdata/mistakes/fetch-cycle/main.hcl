source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  resource "a" { path = "/a/{id}" }
  resource "b" { path = "/b/{id}" }
  resource "c" { path = "/c/{id}" }
  resource "d" { path = "/d/{id}" }
}

destination "webhook" "scheduling" {
  url = "https://receiver.example"
}

pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "d" {
    id = fetched.a.id
  }
  fetch "a" {
    id = fetched.b.id
  }
  fetch "b" {
    id = "${change.id}-${fetched.c.id}"
  }
  fetch "c" {
    id = fetched.a.id
  }
  deliver "scheduling" {
    to  = destination.webhook.scheduling
    map = "a.js"
  }
}

pipeline "q" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "a" {
    id = fetched.a.id
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "a.js"
    order_by = fetched.a.id
  }
}
