source "rest" "clinic" {
  base_url = "${"1e99999999" + 0}"
  limits {
    concurrency = "1e99999999"
    per_second  = "1e99999999"
  }
}
