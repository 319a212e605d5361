source "rest" "clinic" {
  auth "bearer" { CANARYabc "x" }
}
