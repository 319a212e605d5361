source "rest" "clinic" {
  base_url = "https://ehr.example"
  auth     = "bearer"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
    query {
      changedsince = "{since}"
    }
  }
}
