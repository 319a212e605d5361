variable "site" {}
variable "token" { sensitive = true }
