# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  auth "api_key" {
    key   = secret("ehr_key")
    param = "api_key" # in the address, as the API takes it nowhere else
  }
  limits {
    concurrency = 2
    per_second  = 20
  }

  feed "appointments" {
    path    = "/appointments"
    query   = { updated_after = "{since}", sort = "updated" }
    items   = "data"
    id      = "id"
    version = "updated"
    time    = "updated"
    since {
      format = "unix"
    }
    page "number" {
      param      = "page"
      size       = 10
      size_param = "per_page"
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
    overlap = "5m"
  }
  fetch "patient" {
    id    = change.data.patient_id
    cache = "10m" # names and addresses may be that old
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    order_by = change.data.patient_id
  }
}
