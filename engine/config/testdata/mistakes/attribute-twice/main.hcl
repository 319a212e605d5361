destination "webhook" "scheduling" {
  url = "https://receiver.example"
  url = "https://other.example"
  signing_secrets = ["CANARY-LITERAL"]
  signing_secrets = ["CANARY-LITERAL"]
  uri = "x"
}
