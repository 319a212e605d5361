variable "port" {
  type      = string
  sensitive = true
}

variable "plain" {
  type = number
}

source "rest" "clinic" {
  base_url = "https://ehr.example"
  limits {
    concurrency = var.port + 0
    per_second  = tonumber(var.port)
  }
}

variable "list" { type = list(string) }
variable "other" { type = list(string) }
