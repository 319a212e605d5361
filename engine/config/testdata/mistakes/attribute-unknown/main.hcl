source "rest" "clinic" {
  bas_url = "https://ehr.example"
  feed "appointments" {
    path    = "/appointments"
    id      = "id"
    verson  = "lastUpdated"
    colour  = "red"
    since {
      formt = "2006"
      zone  = "UTC"
    }
  }
}
