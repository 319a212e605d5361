variable "token" {
  sensitive = true
}

variable "tokens" {
  type      = map(string)
  sensitive = true
  default   = { CANARY-KEY = "CANARY-VALUE" }
}

variable "plain" {
  default = "CANARY-PLAIN"
}

locals {
  lower = lower(var.token)
  same  = { for t in [local.lower, local.lower] : t => t }
  read  = jsondecode("{${upper(var.token)}")
  named = var.tokens["none"]
}

locals {
  plain = "CANARY-LOCAL-${upper("x")}${[]}"
}

source "rest" "clinic" {
  base_url = "https://ehr.example"
  timeout  = local.lower
  auth "leaky" {
    token = "canary-${upper(local.lower)}"
  }
}

source "rest" "practice" {
  base_url = "https://ehr.example"
  auth "leaky" {
    token = "${local.plain}/${var.plain}"
  }
}

source "rest" "pharmacy" {
  base_url = "https://ehr.example"
  auth "basic" {
    password = tonumber(upper("canary-literal"))
  }
  limits {
    concurrency = keys(var.tokens)[0]
    per_second  = length(var.tokens) + local.lower
  }
}

source "rest" "lab" {
  base_url = "https://ehr.example"
  auth "leaky" {
    token = replace(var.token, "C", "K")
  }
}

table "codes" {
  values = { (local.lower) = [var.token] }
}
