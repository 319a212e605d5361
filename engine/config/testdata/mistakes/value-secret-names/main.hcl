source "rest" "names" {
  base_url = local.url
  auth "bearer" {
    token    = hunter2CANARY("x")
    password = { CANARYa = 1 }
  }
}

source "rest" "steps" {
  base_url = "https://ehr.example"
  auth "bearer" {
    token    = "${{ a = "b" }}".CANARY
    password = { a = 1 }.CANARYstep
  }
}

source "rest" "locals" {
  base_url = "https://ehr.example"
  auth "bearer" {
    token    = local.unquoted
    password = local.called
  }
}

source "rest" "shown" {
  base_url = "https://ehr.example"
  auth "bearer" {
    token    = upper("CANARY${env("TENANT")}${var.none}")
    password = ["CANARY", var.none, secret("none")]
  }
}

locals {
  url      = "https://ehr.example"
  unquoted = CANARYname
  called   = CANARYcall(1)
}
