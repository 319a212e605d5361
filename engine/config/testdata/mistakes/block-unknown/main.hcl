sorce "rest" "clinic" {
  base_url = "CANARY-LITERAL"
}

tabel "codes" {
}

destination "webhook" "scheduling" {
  url = "https://receiver.example"
  feed "x" { token = "CANARY-LITERAL" }
}

pipeline "appointments" {
  pol {
    every = "1m"
  }
}
