source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
}

destination "stdout" "screen" {}

pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "d1" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = "change.data.active"
  }
  deliver "d2" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = "yes"
  }
  deliver "d3" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = 5
  }
  deliver "d4" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = null
  }
  deliver "d5" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = change.data.list[*].id
  }
  deliver "d6" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = [change.id]
  }
  deliver "d7" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = change.data.count + 1
  }
  deliver "d8" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = upper(change.data.status)
  }
  deliver "d9" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = "${change.data.status}"
  }
  deliver "d10" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = change.status == "draft"
  }
  deliver "d11" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = fetched.patient.active
  }
  deliver "d12" {
    to     = destination.stdout.screen
    map    = "a.js"
    filter = change
  }
}
