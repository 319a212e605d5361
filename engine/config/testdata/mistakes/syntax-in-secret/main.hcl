source "rest" "clinic" {
  base_url = "https://ehr.example"
  auth "bearer" { token = "CANARY\-LITERAL" }
  auth "bearer" {
    token = CANARY-LITERAL CANARY-LITERAL
    names = [
      "CANARY-LITERAL" "CANARY-LITERAL"
    ]
  }
}
