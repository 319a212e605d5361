# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

# One practice. The base_url is that of the simulator; without it, it is the vendor's server for the environment.
source "athenahealth" "clinic" {
  environment         = "preview"
  practice_id         = "195900"
  client_id           = "rounds"
  client_secret       = secret("athena")
  base_url            = env("ATHENA_URL")
  manage_subscription = true # subscribe to a feed that is polled below
}

destination "stdout" "screen" {}

pipeline "appointments" {
  poll {
    feed  = source.athenahealth.clinic.feed.appointments
    every = "2s" # for a real practice rather "1m"
    start = "now"
  }
  # Slots that nobody has booked are in the feed as well, and have no patient.
  fetch "patient" {
    id = change.data.patientid
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "appointment.js"
    validate = "redox/scheduling"
    order_by = change.data.patientid
  }
}
