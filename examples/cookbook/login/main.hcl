# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

variable "clinic" {
  type        = string
  description = "the clinic's number at the vendor"
}

table "statuses" {
  values = {
    "1" = "booked"
    "2" = "arrived"
    "9" = "cancelled"
  }
  default = "unknown"
}

source "rest" "ehr" {
  base_url = env("EHR_URL")
  headers  = { X-Clinic = var.clinic }
  auth "login" {
    path         = "/session"
    body         = { user = "rounds", password = secret("ehr_password") }
    token_path   = "session.token"
    expires_path = "session.seconds"
    header       = "X-Session"
  }

  feed "appointments" {
    path    = "/changes"
    query   = { from = "{since}" }
    items   = "changes"
    id      = "appointment"
    version = "stamp"
    time    = "changedAt"
    since {
      format = "01/02/2006 15:04:05"
      zone   = "America/Chicago"
    }
    page "cursor" {
      next   = "more.token"
      param  = "token"
      stable = true # the vendor says that a token stands for a snapshot
    }
  }

  resource "patient" {
    path = "/patients/{id}"
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
    overlap = "90s"
  }
  fetch "patient" {
    id   = change.data.patient
    when = change.data.patient != null
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    filter   = table.statuses[change.data.status] != "unknown"
    order_by = change.data.patient
  }
}
