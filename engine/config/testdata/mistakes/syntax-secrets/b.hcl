destination "webhook" "x" {
  url     = "x"
  headers = { Authorization = Bearer CANARY }
}
