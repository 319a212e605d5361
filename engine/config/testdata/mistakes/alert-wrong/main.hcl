source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
}

destination "stdout" "screen" {}

pipeline "appointments" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

alert "none" { to = destination.stdout.screen }

alert "two" {
  to                 = destination.stdout.screen
  dead_letters_above = 1
  no_traffic_for     = "4h"
}

alert "other" {
  to                = destination.stdout.screen
  pipeline          = pipeline.appointments
  outbox_older_than = "10m"
}

alert "both" {
  to           = destination.stdout.screen
  pipeline     = pipeline.appointments
  destination  = destination.stdout.screen
  errors_above = 0.5
}

alert "itself" {
  to                = destination.stdout.screen
  destination       = destination.stdout.screen
  outbox_older_than = "10m"
}

alert "percent" {
  to           = destination.stdout.screen
  errors_above = 50
  over         = "1s"
}

alert "week" {
  to           = destination.stdout.screen
  errors_above = 0.5
  over         = "168h"
}

alert "over" {
  to              = destination.stdout.screen
  poll_older_than = "10ms"
  over            = "15m"
}

alert "names" {
  to             = stdout.screen
  pipeline       = pipeline.appointment
  no_traffic_for = "4h"
}

alert "text" {
  to                  = destination.stdout.screens
  source              = "rest.clinic"
  calls_per_day_above = -1
}

alert "short" {
  to                  = destination.stdout.screen
  source              = source.clinic
  calls_per_day_above = 1000
  map                 = "alarm.js"
}

alert "misspelt" {
  to            = destination.stdout.screen
  no_trafic_for = "4h"
}

alert "hasty" {
  to              = destination.stdout.screen
  poll_older_than = "60s"
}
