# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "clinic" {
  base_url = env("EHR_URL")

  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
  }

  resource "patient" {
    path = "/patient/{id}"
  }
}

# The hospital's interface engine. Over an open network add a tls block.
destination "mllp" "his" {
  address = env("HIS_ADDRESS")
}

pipeline "appointments" {
  keep_previous = true # what happened to an appointment is told by what it was like before

  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "2s" # for a real EHR rather "1m"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "his" {
    to       = destination.mllp.his
    map      = "appointment.js"
    order_by = change.data.patientID
  }
}
