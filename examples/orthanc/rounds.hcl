# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "orthanc" "pacs" {
  base_url = env("ORTHANC_URL")
  username = "rounds"
  password = env("ORTHANC_PASSWORD") # rather secret("orthanc") where files hold secrets
}

destination "stdout" "screen" {}

pipeline "studies" {
  poll {
    feed  = source.orthanc.pacs.feed.studies
    every = "1s" # for a real server rather "10s"
    start = "beginning"
  }
  fetch "study" {
    id         = change.id
    on_missing = "skip" # it was deleted since
  }
  fetch "patient" {
    id         = fetched.study.ParentPatient
    on_missing = "skip"
  }
  fetch "series" {
    for_each = fetched.study.Series
    optional = true
  }
  fetch "statistics" {
    from     = "study_statistics"
    id       = change.id
    optional = true
  }
  deliver "screen" {
    to       = destination.stdout.screen
    map      = "study.js"
    order_by = fetched.study.ParentPatient
  }
}
