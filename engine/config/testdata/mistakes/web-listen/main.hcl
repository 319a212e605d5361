web {
  listen = "8417"
}

history {
  keep = "7d"
}
