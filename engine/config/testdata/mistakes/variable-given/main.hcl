variable "site" {}

variable "port" {
  type = number
}

variable "sites" {
  type = list(string)
}

variable "zones" {
  type = map(string)
}

variable "flag" {
  type = bool
}

variable "token" {
  type      = list(string)
  sensitive = true
}

variable "pin" {
  type      = number
  sensitive = true
}

variable "labels" {
  type = map(string)
}

variable "numbers" {
  type = list(number)
}
