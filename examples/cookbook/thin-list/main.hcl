# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  timeout  = "20s"
  tls {
    ca          = file("ca.pem") # the hospital's own authority
    cert        = file("client.pem")
    key         = secret("client_key")
    min_version = "1.3"
  }
  # proxy = secret("proxy")      # http://user:password@proxy.example:3128

  feed "appointments" {
    path    = "/changed-appointments"
    query   = { since = "{since}" }
    items   = "changed"
    id      = "id"
    version = "etag"
    time    = "at"
    since {
      format = "2006-01-02T15:04:05.000Z07:00"
    }
  }

  resource "appointment" {
    path = "/appointments/{ids}"
    batch {
      size      = 20
      separator = ";"
      id        = "id"
    }
  }
  resource "person" {
    path = "/persons/{id}"
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
  fetch "appointment" {
    id = change.id
  }
  fetch "persons" {
    from     = "person"
    for_each = fetched.appointment.participants[*].person
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    order_by = fetched.appointment.participants[0].person
  }
}
