source "rest" "clinic" {
  base_url = change.data.url
  feed "appointments" {
    path = appointments
    id   = var.id
  }
}

destination "webhook" "scheduling" {
  url = destination.webhook.other.url
}
