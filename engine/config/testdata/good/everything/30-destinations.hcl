destination "webhook" "orders" {
  url       = "https://receiver.example"
  parallel  = 4
  on_reject = "dead_letter"
  timeout   = "10s"
}

destination "stdout" "screen" {}
