adapter "absent" {
  path = "./absent"
}

adapter "forged" {
  path   = "./forged"
  sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}

adapter "rest" {
  path = "./rest"
}

adapter "odd" {
  path   = ""
  sha256 = "e3b0c442"
}

adapter "nameless" {
}

adapter "tiny" {
  path         = "./pacs"
  memory_limit = 5
}

source "absent" "a" {
  url = "https://pacs.example"
}

source "forged" "b" {
  token = "CANARY-LITERAL"
}

source "broken" "c" {
  url = "https://pacs.example"
}

source "broken" "d" {
  url = "https://pacs.example"
}

pipeline "p" {
  poll {
    feed  = source.absent.a.feed.changes
    every = "1s"
  }
  fetch "study" {
    id = change.dta
  }
  deliver "x" {
    to  = destination.webhook.scheduling
    map = "a.js"
  }
}
