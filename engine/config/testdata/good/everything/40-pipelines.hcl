pipeline "orders" {
  keep_previous = true
  isolate       = true

  poll {
    feed    = source.rest.clinic.feed.orders
    every   = "24h"
    overlap = "0s"
    start   = "2026-01-31T08:00:00-05:00"
    timeout = "30s"
    confirm     = "practice"
    max_deleted = 0.25
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
    id         = change.id
    when       = change.op != "deleted"
    on_missing = "skip"
    cache      = "10m"
  }
  fetch "series" {
    from     = "serie"
    for_each = [for s in fetched.study.series : s.id]
    optional = true
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "maps/order.ts"
    validate = "maps/study.json"
    order_by = change.data.urgent ? "urgent" : change.id
  }
}

pipeline "patient-orders" {
  poll {
    feed  = source.rest.clinic.feed.patients
    every = "24h"
  }
  expand "practice" {
    id      = change.id
    items   = "data.practices"
    key     = "practice.id"
    version = "rev"
    time    = null
  }
  fetch "patient" {
    id = parent.data.id
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "maps/order.ts"
    order_by = "${parent.id}/${change.id}"
  }
}
