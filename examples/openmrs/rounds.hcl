# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "openmrs" "clinic" {
  base_url = env("OPENMRS_URL")
  auth "basic" {
    username = "rounds"
    password = secret("openmrs_password")
  }

  feed "patient" {}

  resource "patient" {}
}

destination "stdout" "screen" {}

pipeline "patients" {
  poll {
    feed  = source.openmrs.clinic.feed.patient
    every = "2s"
    start = "beginning"
  }

  # An event tells which patient was saved, and nothing of the patient. One who was purged since is no longer there.
  fetch "patient" {
    id         = change.id
    on_missing = "skip"
  }

  deliver "screen" {
    to       = destination.stdout.screen
    map      = "patient.js"
    order_by = change.id
  }
}
