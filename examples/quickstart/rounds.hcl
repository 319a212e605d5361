# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

# The EHR: where it is, what can be polled, what can be fetched.
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

# Who gets the notifications.
destination "webhook" "scheduling" {
  url           = env("NOTIFY_URL")
  allow_private = true # the receiver runs on this machine
}

# The way from one to the other.
pipeline "appointments" {
  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "2s"  # for a real EHR rather "1m"
    overlap = "30s" # changes that the EHR shows late by up to this are not missed
    start   = "now"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "appointment.js"
    order_by = change.data.patientID # one patient's notifications stay in order
  }
}
