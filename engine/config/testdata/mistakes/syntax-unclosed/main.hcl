source "rest" "clinic" {
  base_url = "https://ehr.example"
