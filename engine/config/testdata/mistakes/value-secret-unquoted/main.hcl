source "rest" "clinic" {
  base_url = "https://ehr.example"
  auth "bearer" {
    token = CANARY-LITERAL
  }
}
