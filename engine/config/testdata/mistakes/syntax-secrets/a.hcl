destination "webhook" "x" {
  url = https://hooks.example/CANARY/abc
}
