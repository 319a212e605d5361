source "rest" "clinic" {
  base_url = "https://ehr.example
  CANARY-LITERAL
  CANARY-LITERAL"
  timeout = <<EOT
CANARY-LITERAL
EOT }
}
