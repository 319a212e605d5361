# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "ehr" {
  base_url = env("EHR_URL")
  auth "basic" {
    username = "rounds"
    password = secret("ehr_password")
  }

  feed "slots" {
    class  = "scan"
    path   = "/slots"
    items  = "slots"
    id     = "id"
    ignore = ["views", "room.lastCleaned"] # differ each time, and mean nothing
    page "number" {
      param = "page"
      more  = "hasMore"
    }
  }

  resource "slot" {
    path = "/slots/{id}"
  }
}

destination "webhook" "scheduling" {
  url             = env("NOTIFY_URL")
  signing_secrets = [secret("notify")]
}

pipeline "slots" {
  poll {
    feed        = source.rest.ehr.feed.slots
    every       = "15m"
    confirm     = "slot" # asked before a slot counts as deleted
    max_deleted = 0.05   # more than that at once is an error of the EHR
  }
  deliver "scheduling" {
    to  = destination.webhook.scheduling
    map = "mapping.js"
  }
}
