# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" } # --page adds: limit = "N"
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
    # --page adds a page block
  }
  resource "patient" {
    path = "/patient/{id}"
  }
  limits {
    concurrency = 16
  }
}

destination "webhook" "receiver" {
  url           = env("NOTIFY_URL")
  allow_private = true
  parallel      = 16
}

pipeline "appointments" {
  poll {
    feed    = source.rest.ehr.feed.appointments
    every   = "10m"
    overlap = "2m"
    start   = "beginning"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "receiver" {
    to       = destination.webhook.receiver
    map      = "mapping.js"
    order_by = change.data.patientID
  }
}
