# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

adapter "python" {
  path = "adapter.py" # executable; its first line names the Python that has the packages
}

source "python" "clinic" {
  base_url = "http://localhost:3000"
}

destination "stdout" "screen" {}

pipeline "appointments" {
  poll {
    feed  = source.python.clinic.feed.appointments
    every = "2s"
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
