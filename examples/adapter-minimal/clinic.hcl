# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

adapter "minimal" {
  path = "./adapter-minimal"
}

source "minimal" "clinic" {
  base_url = "http://localhost:8080"
  token    = "change me" # better: secret("clinic_token"), what the file of that name in /run/secrets holds
}

destination "stdout" "screen" {}

pipeline "appointments" {
  poll {
    feed  = source.minimal.clinic.feed.appointments
    every = "1m"
    start = "beginning"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "appointment.js"
  }
}
