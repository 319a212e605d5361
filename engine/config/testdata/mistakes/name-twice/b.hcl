destination "webhook" "scheduling" {
  url = "https://other.example"
}
