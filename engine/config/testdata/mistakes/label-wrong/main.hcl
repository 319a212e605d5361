source "clinic" {
  base_url = "https://ehr.example"
  auth "bearer" { token = "CANARY-LITERAL" }
}

pipeline "my pipeline" {
}

pipeline "__proto__" {
}

pipeline "" {
}

destination "webhook" "2nd" {
  url = "https://receiver.example"
}

destination "webhook" "a-name-that-nobody-would-ever-want-to-type-even-once-because-it-is-so-long" {
  url = "https://receiver.example"
}
