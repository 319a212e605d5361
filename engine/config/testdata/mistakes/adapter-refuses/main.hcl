source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
    since {
      format = "2006-01-02"
      zone   = "America/New_Yrk"
    }
  }
}

source "rest" "hospital" {
  base_url = "ftp://ehr.example"
}

source "rest" "office" {
  base_url = "https://ehr.example"
  feed "orders" {
    path = "/orders"
    id   = "id"
    since {
      format = "2006-01-02"
    }
  }
}

destination "webhook" "scheduling" {
  url = "gopher://receiver.example"
}
