source "rest" "clinic" {
  feed "appointments" {
    id = null
  }
}

destination "webhook" "scheduling" {
}

pipeline "appointments" {
  poll {}
  fetch "patient" {}
  deliver "scheduling" {}
}
