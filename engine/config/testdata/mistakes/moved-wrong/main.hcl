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

moved {
  from = pipeline.appointments
  to   = pipeline.appointments
}

moved {
  from = source.rest.clinic
  to   = source.rest.clinics
}

moved {
  from = pipeline.old
  to   = pipeline.appointment
}

moved {
  from = pipeline.first
  to   = pipeline.second
}

moved {
  from = pipeline.second
  to   = pipeline.appointments
}

moved {
  from = pipeline.a
  to   = pipeline.b
}

moved {
  from = pipeline.b
  to   = pipeline.a
}

moved {
  from = pipeline.first
  to   = pipeline.appointments
}

moved {
  from = "destination.stdout.old"
  to   = destination.stdout.screen
}

moved {
  from = destination.stdout.old
  to   = pipeline.appointments
}

moved {
  from = source.fhir.clinic
  to   = source.rest.clinic
}

moved {
  from = pipelin.old
  to   = destination.screen
}

moved {
  from = pipeline["older"]
  to   = pipeline.appointments
}

moved "x" {
  to = pipeline.appointments
}

moved {
  form = pipeline.older
}
