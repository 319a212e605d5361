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

pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" {
  }
  fetch "provider" {
    id       = change.data.provider
    for_each = change.data.providers
  }
  fetch "doctor" {
    from = "providr"
    id   = change.data.doctor
  }
  fetch "referrer" {
    from = "provider"
    for_each = "${change.data.referrer}/x"
    when = "yes, ${change.id}"
  }
  fetch "team" {
    from = "provider"
    for_each = [for p in change.data.team : p.id]
    on_missing = "skipp"
    cache = "-1m"
  }
  fetch "owner" {
    from = "provider"
    id = change.data.owner
    optional = true
    on_missing = "dead_letter"
    cache = "1d"
  }
  fetch "nurse" {
    from = "provider"
    id = change.data.team[*].id
    optionl = true
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "q" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" {
    id = "p1"
    when = fetched.provider != null
  }
  fetch "provider" {
    for_each = fetched.patient.providers
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}
