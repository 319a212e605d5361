# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "couchdb" "ward" {
  base_url = env("COUCH_URL")

  feed "visits" {}

  resource "patient" {
    database = "patients"
  }
}

destination "stdout" "screen" {}

pipeline "visits" {
  poll {
    feed  = source.couchdb.ward.feed.visits
    every = "2s"
    start = "beginning"
  }

  # Nothing is asked for when a visit was deleted, as its data are gone.
  fetch "patient" {
    id         = change.data.patient
    on_missing = "deliver"
  }

  deliver "screen" {
    to       = destination.stdout.screen
    map      = "visit.js"
    order_by = change.id
  }
}
