adapter "orthanc" {
  path = "bin/orthanc"
}

source "orthanc" "pacs" {
  url = "http://localhost:8042"
}

source "orthanc" "other" {
  url = "http://localhost:8043"
}

destination "stdout" "screen" {}

pipeline "first" {
  poll {
    feed  = source.orthanc.pacs.feed.worklist
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "elsewhere" {
  poll {
    feed  = source.orthanc.other.feed.worklist
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "second" {
  poll {
    feed  = source.orthanc.pacs.feed.worklist
    every = "5m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "sequence" {
  poll {
    feed  = source.orthanc.pacs.feed.changes
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}

pipeline "sequence_again" {
  poll {
    feed  = source.orthanc.pacs.feed.changes
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}
