pipeline "a" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "scheduling" {
    to  = destination.webhook.scheduling
    map = "a.js"
  }
}
