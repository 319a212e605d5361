# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

variable "own_user" {
  type        = string
  default     = "interface-user"
  description = "whom the EHR names as the author of what your own systems wrote"
}

source "rest" "ehr" {
  base_url = env("EHR_URL")
  auth "oauth2" {
    token_url     = "${env("EHR_URL")}/oauth2/token"
    client_id     = "rounds"
    client_secret = secret("ehr_client")
    scopes        = ["appointments.read", "patients.read"]
  }

  feed "appointments" {
    path    = "/appointments/"
    query   = { last_modified__gte = "{since}", limit = "10" }
    items   = "results"
    id      = "id"
    version = "last_modified"
    time    = "last_modified"
    page "next_url" {
      next = "next"
    }
  }

  resource "patient" {
    path = "/patients/{id}/"
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
    id = change.data.patient
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    filter   = change.data.modified_by != var.own_user # no echo of your own writes
    order_by = change.data.patient
  }
}
