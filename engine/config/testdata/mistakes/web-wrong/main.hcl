web {
  listen = "0.0.0.0:8417"
  token  = "CANARY-LITERAL-TOKEN"
}

web {
  token = "CANARY-SECOND"
}

history {
  keep     = "-1h"
  max_size = 0
}
