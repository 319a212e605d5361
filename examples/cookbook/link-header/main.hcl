# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  auth "basic" {
    username = "rounds"
    password = secret("ehr_password")
  }

  feed "appointments" {
    path    = "/appointments"
    query   = { modifiedSince = "{since}", pageSize = "10" }
    id      = "uuid"
    version = "audit.version"
    time    = "audit.changed"
    since {
      format = "unix_ms"
    }
    page "link" {}
  }

  resource "patient" {
    path = "/patients/{id}"
  }
  resource "provider" {
    path = "/providers/{id}"
  }
}

destination "webhook" "scheduling" {
  url             = env("NOTIFY_URL")
  signing_secrets = [secret("notify")]
}

pipeline "appointments" {
  poll {
    feed  = source.rest.ehr.feed.appointments
    every = "1m"
  }
  fetch "patient" {
    id         = change.data.patient.uuid
    on_missing = "skip" # test patients that are removed again
  }
  fetch "provider" {
    id       = change.data.provider
    optional = true # some are confidential: 403
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    order_by = change.data.patient.uuid
  }
}
