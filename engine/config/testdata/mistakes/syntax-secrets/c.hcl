destination "webhook" "x" {
  headers = {
    Authorization : "Bearer CANARY" x
  }
}
