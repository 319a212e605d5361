alert "quiet" {
  pipeline       = pipeline.orders
  no_traffic_for = "4h"
  to             = destination.stdout.screen
}

alert "late" {
  pipeline        = pipeline.studies
  poll_older_than = "30m"
  resolve_after   = "0s"
  to              = destination.stdout.screen
}

alert "failing" {
  errors_above = 0.25
  over         = "1h"
  to           = destination.stdout.screen
}

alert "refused" {
  destination  = destination.webhook.orders
  errors_above = 0
  to           = destination.stdout.screen
}

alert "letters" {
  dead_letters_above = 0
  to                 = destination.stdout.screen
  map                = "maps/alert.js"
}

alert "waiting" {
  outbox_older_than = "${1 + 1}m"
  to                = destination.stdout.screen
}

alert "budget" {
  source              = source.rest.clinic
  calls_per_day_above = 40000
  to                  = destination.stdout.screen
}
