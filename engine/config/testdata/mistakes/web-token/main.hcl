web {
  token = "CANARY-SHORT"
  tls {
    cert = "CANARY"
    key  = "CANARY"
  }
}
