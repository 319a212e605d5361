source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
}

destination "webhook" "scheduling" {
  url = "https://receiver.example"
}

pipeline "a" {
  poll {
    feed  = "appointments"
    every = "1m"
  }
  deliver "scheduling" {
    to  = "webhook.scheduling"
    map = "a.js"
  }
}

pipeline "b" {
  poll {
    feed  = env("NOTIFY_URL")
    every = "1m"
  }
  deliver "scheduling" {
    to  = destination.webhook["scheduling"]
    map = "a.js"
  }
}
