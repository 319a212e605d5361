# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  headers  = { X-Key-Source = "API" }
  auth "api_key" {
    key    = "Basic ${secret("ehr_key")}" # as this API wants it
    header = "Authorization"
  }

  feed "appointments" {
    method = "POST"
    path   = "/graphql"
    body = {
      query     = file("appointments.graphql")
      variables = { since = "{since}" }
    }
    items   = "data.appointments.nodes"
    id      = "id"
    version = "updatedAt"
    time    = "updatedAt"
    page "cursor" {
      next  = "data.appointments.pageInfo.endCursor"
      param = "variables.after"
    }
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
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    order_by = change.data.patient.id
  }
}
