source "rest" "clinic" {
  base_url = "https://ehr.example/${var.site}"
  timeout  = local.timeout
  feed "appointments" {
    path = table.paths["appointments"]
    id   = "id"
  }
}

destination "stdout" "screen" {}

pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = local.every
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "a.js"
    filter   = var.on
    order_by = local.zone
  }
}

moved {
  from = pipeline.old
  to   = pipeline.q
}
