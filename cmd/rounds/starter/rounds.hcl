# The EHR: where it is, what can be polled, what can be fetched. This is the sample EHR of "rounds demo --serve".
source "rest" "clinic" {
  base_url = "http://127.0.0.1:4010"

  # auth "bearer" {
  #   token = secret("clinic_token") # the file clinic_token in /run/secrets
  # }

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

# Who gets the notifications. This is the receiver of "rounds demo --serve".
destination "webhook" "scheduling" {
  url           = "http://127.0.0.1:4011"
  allow_private = true # the receiver runs on this machine
}

# The way from one to the other.
pipeline "appointments" {
  keep_previous = true # appointment.ts tells what happened by what an appointment was before

  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "2s"  # for a real EHR rather "1m"
    overlap = "30s" # changes that the EHR shows late by up to this are not missed
    start   = "now"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "appointment.ts"
    validate = "redox/scheduling"
    order_by = change.data.patientID # one patient's notifications stay in order
  }
}
