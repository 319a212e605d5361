source "rest" "clinic" {
  base_url = "https://ehr.example"
  auth "leaky" {
    token = "CANARY-LITERAL"
  }
}

source "rest" "hospital" {
  base_url = "https://ehr.example"
  auth "leaky" {
    token = secret("canary")
  }
}

source "rest" "number" {
  base_url = "https://ehr.example"
  auth "leaky" {
    token = 12345678
  }
}
