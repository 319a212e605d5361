# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

adapter "node" {
  path = "adapter.js" # executable, and its first line names node, which is found by PATH
}

source "node" "clinic" {
  base_url = "http://localhost:3000"
}

destination "stdout" "screen" {}

pipeline "appointments" {
  poll {
    feed  = source.node.clinic.feed.appointments
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
