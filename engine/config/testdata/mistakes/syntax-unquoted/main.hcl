pipeline "appointments" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = 1m
  }
}
