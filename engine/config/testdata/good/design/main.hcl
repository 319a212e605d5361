source "rest" "clinic" {
  base_url = "https://fakedata.com"
  auth "bearer" {
    token = secret("clinic_token")
  }
  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
  }
  resource "patient" {
    path = "/patient/{id}"
  }
}

destination "webhook" "scheduling" {
  url             = env("NOTIFY_URL")
  signing_secrets = [secret("notify")]        # several while rotating
}

pipeline "appointments" {
  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "1m"
    overlap = "2m"
    start   = "now"                           # or "beginning", or an instant
  }
  fetch "patient" {                           # the label is the resource, unless `from` is given
    id = change.data.patientID
  }
  deliver "scheduling" {                      # repeatable; each has its own mapping
    to       = destination.webhook.scheduling
    map      = "appointment.js"
    order_by = change.data.patientID
  }
}
