adapter "orthanc" {
  path = "bin/orthanc"
}

source "orthanc" "pacs" {
  url = "http://localhost:8042"
}

destination "stdout" "screen" {}

pipeline "feed" {
  poll {
    feed  = source.orthanc.pacs.feed.change
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "resource" {
  poll {
    feed    = source.orthanc.pacs.feed.changes
    every   = "1m"
    confirm = "instance"
  }
  fetch "studies" {
    id = change.id
  }
  fetch "serie" {
    id = change.id
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "text" {
  poll {
    feed  = "deleted"
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}
