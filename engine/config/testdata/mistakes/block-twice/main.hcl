source "rest" "clinic" {
  base_url = "https://ehr.example"
  auth "bearer" { token = "CANARY-LITERAL" }
  auth "basic" {
    usrname = "rounds"
  }
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  feed "appointments" {
    path = "/other"
    id   = "id"
  }
}
