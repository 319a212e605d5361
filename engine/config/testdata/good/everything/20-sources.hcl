source "orthanc" "pacs" {
  url     = "https://pacs.example"
  isolate = true
}

source "rest" "clinic" {
  base_url = "https://ehr.example/${env("TENANT")}"
  timeout  = "1m30s"
  auth "basic" {
    username = "rounds"
    password = secret("clinic_token")
  }
  limits {
    concurrency = "4"
    per_second  = 2.50
  }
  feed "orders" {
    path    = file("path.txt")
    id      = 7
    class   = "timestamp"
    ignore  = ["lastSeen", 5]
    headers = { "X-Page" = 5, Accept = "application/json" }
    body    = { filter = { status = ["a", "b"], since = 12345678901234567890, deep = null } }
    version = null
  }
  feed "patients" {
    path = "/patients"
    id   = "id"
  }
  resource "patient" { path = "/patient/{id}" }
  resource "practice" { path = "/practice/{id}" }
}
