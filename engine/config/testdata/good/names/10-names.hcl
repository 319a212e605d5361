variable "tenant" {
  type        = string
  description = "the clinic's name in paths"
}

variable "zone" { default = "UTC" }

variable "from_environment" {}

variable "parallel" {
  type    = number
  default = "4"
}

variable "statuses" {
  type    = list(string)
  default = ["draft"]
}

variable "headers" {
  type = map(string)
}

variable "optional" {
  type    = string
  default = null
}

variable "body" {
  type    = any
  default = { deep = [1, true, null] }
}

variable "pair" {
  type    = object({ name = string, size = number })
  default = { name = "n", size = 3 }
}

variable "token" {
  type      = string
  sensitive = true
  default   = "CANARY-DEFAULT"
}

locals {
  path  = "/${local.lower}/appointments"
  lower = lower(var.tenant)
}

locals {
  held    = jsonencode(var.statuses)
  missing = table.departments[var.tenant]
}

table "departments" {
  csv     = "departments.csv"
  key     = "code"
  value   = "name"
  default = "other of ${var.tenant}"
}

table "sexes" {
  values = { F = "Female", M = "Male", 9 = "Unknown" }
}

table "nothing" {
  values = {}
}

moved {
  from = pipeline.visits
  to   = pipeline.appointments
}

moved {
  from = source.rest.old
  to   = source.rest.clinic
}

moved {
  from = destination.webhook.old
  to   = destination.stdout.screen
}

table "without_default" {
  values  = { A = "a" }
  csv     = null
  default = null
}
