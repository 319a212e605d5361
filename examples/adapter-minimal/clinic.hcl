# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

adapter "minimal" {
  path = "./adapter-minimal"
}

source "minimal" "clinic" {
  base_url = "http://localhost:8080"
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
