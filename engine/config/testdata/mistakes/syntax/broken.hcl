source "rest" "clinic" {
  base_url = "https://ehr.example"
  auth "bearer" {
    token = "CANARY-LITERAL
  }
}

destination "webhook" "scheduling" {
  url = "https://receiver.example"
  signing_secrets = [
    "CANARY-LITERAL" "CANARY-LITERAL",
    <<EOT
CANARY-LITERAL
EOT
  ]
  key = CANARY+
