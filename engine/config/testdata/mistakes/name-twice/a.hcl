destination "webhook" "scheduling" {
  url = "https://receiver.example"
}
