source "rest" "clinic" {
  auth "bearer" { token: "CANARYabc" }
}
