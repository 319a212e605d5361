pipeline "appointments" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" {
    id = change.dta.patientID
  }
  deliver "scheduling" {
    to  = destination.webhook.scheduling
    map = "a.js"
  }
  deliver "elsewhere" {
    to  = destination.webhook.elsewhere
    map = "b.js"
  }
}
