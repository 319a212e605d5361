source "rest" "clinic" {
  base_url = "https://ehr.example"
  timeout  = var.optional
  auth "bearer" {
    token = "${var.token}-${upper(var.tenant)}"
  }
  feed "appointments" {
    path    = local.path
    id      = "id"
    version = local.missing
    ignore  = concat(var.statuses, [var.from_environment], [lookup(table.sexes, "M", "none"), table.sexes["9"], table.sexes.F])
    headers = merge(var.headers, { size = var.pair.size })
    body    = var.body
    since {
      zone = coalesce(var.zone, "UTC")
    }
  }
}

destination "stdout" "screen" {
  parallel = var.parallel
}

pipeline "appointments" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "a.js"
    filter   = !contains(var.statuses, change.data.status)
    order_by = "${local.lower}/${table.departments[change.data.department]}"
  }
}
