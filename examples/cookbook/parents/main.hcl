# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  auth "bearer" {
    token = secret("ehr_token")
  }

  feed "patients" {
    path  = "/patients"
    query = { ordersChangedSince = "{since}" }
    id    = "id"
    time  = "ordersChanged"
  }

  resource "orders" {
    path = "/patients/{id}/orders"
  }
  resource "patient" {
    path = "/patients/{id}"
  }
}

destination "webhook" "orders" {
  url             = env("NOTIFY_URL")
  signing_secrets = [secret("notify")]
}

pipeline "orders" {
  poll {
    feed  = source.rest.ehr.feed.patients
    every = "1h"
  }
  expand "orders" {
    id      = change.id
    items   = "orders"
    key     = "number"
    version = "revision"
    time    = "updated"
  }
  fetch "patient" {
    id = parent.id
  }
  deliver "orders" {
    to       = destination.webhook.orders
    map      = "mapping.js"
    order_by = parent.id
  }
}
