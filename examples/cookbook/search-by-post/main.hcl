# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "laboratory" {
  base_url = env("EHR_URL")
  auth "api_key" {
    key    = secret("ehr_key")
    header = "X-Api-Key"
  }

  feed "results" {
    method = "POST"
    path   = "/results/search"
    body = {
      filter = { updatedFrom = "{since}", status = ["final", "corrected"] }
      sort   = "updated"
    }
    items   = "hits"
    id      = "number"
    version = "revision"
    time    = "updated"
    since {
      format = "2006-01-02T15:04:05.000Z07:00"
    }
    page "offset" {
      param      = "paging.from" # goes into the body
      size       = 10
      size_param = "paging.size"
      total      = "total"
    }
    include "patient" {
      path = "order.patient" # comes with most results
      id   = "mrn"
    }
  }

  resource "patient" {
    path  = "/patients"
    query = { mrn = "{ids}" }
    batch {
      size  = 100
      items = "patients"
      id    = "mrn"
    }
  }
}

destination "webhook" "results" {
  url             = env("NOTIFY_URL")
  signing_secrets = [secret("notify")]
}

pipeline "results" {
  poll {
    feed  = source.rest.laboratory.feed.results
    every = "5m"
  }
  fetch "patient" {
    id = change.data.order.mrn
  }
  deliver "results" {
    to       = destination.webhook.results
    map      = "mapping.js"
    order_by = change.data.order.mrn
  }
}
