source "rest" "clinic" {
  base_url = <<EOT
CANARY-LITERAL
EOT }
}
