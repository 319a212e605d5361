source "rest" "clinic" {
  base_url = enf("NOTIFY_URL")
  auth "bearer" {
    token = secret("a", "b")
  }
  feed "appointments" {
    path = env()
    id   = uppr("id")
  }
}

pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" {
    id = lowr(change.data.patientID)
  }
}
