source "rest" "clinic" {
  auth "bearer" {
    token = <<EOT
CANARYabc=
CANARY
    EOT
    # CANARY, the old one
    password = CANARY!abc
  }
}
