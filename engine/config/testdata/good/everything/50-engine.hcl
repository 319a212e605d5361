web {
  listen = "localhost:9000"
  token  = "a-token-of-16-characters"
}

history {
  keep     = "24h"
  max_size = 64
}
