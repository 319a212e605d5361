# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  auth "bearer" {
    token = secret("ehr_token")
  }

  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05" # no zone in the text ...
      zone   = "America/New_York"    # ... so the clinic's is given here
    }
  }

  resource "patient" {
    path = "/patient/{id}"
  }
}

destination "webhook" "scheduling" {
  url             = env("NOTIFY_URL")
  signing_secrets = [secret("notify")]
}

pipeline "appointments" {
  poll {
    feed    = source.rest.ehr.feed.appointments
    every   = "1m"
    overlap = "2m" # what the EHR shows late by up to this is not missed
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    order_by = change.data.patientID
  }
}
