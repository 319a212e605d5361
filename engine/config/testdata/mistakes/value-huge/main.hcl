destination "webhook" "scheduling" {
  url      = "https://receiver.example/${1e999999999}"
  parallel = -1e-999999999
}
