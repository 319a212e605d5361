pipeline "orders" {
  keep_previous = true

  poll {
    feed    = source.rest.clinic.feed.orders
    every   = "24h"
    overlap = "0s"
    start   = "2026-01-31T08:00:00-05:00"
    timeout = "30s"
  }
  fetch "practice" {
    id = fetched.patient.practice[0].id
  }
  fetch "patient" {
    id = change.data["patient"].id
  }
  deliver "orders" {
    to       = destination.webhook.orders
    map      = "maps/order.ts"
    validate = "redox/order"
    order_by = "${change.data.site}/${fetched.patient.id}"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "maps/order.ts"
  }
}

pipeline "studies" {
  poll {
    feed  = source.orthanc.pacs.feed.changes
    every = "1s"
    start = "beginning"
  }
  fetch "study" {
    id = change.id
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "maps/order.ts"
    validate = "maps/study.json"
    order_by = change.data.urgent ? "urgent" : change.id
  }
}
