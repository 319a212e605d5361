variable "quoted" {
  type = "string"
}

variable "mistyped" {
  type    = strin
  default = "CANARY-LITERAL"
}

variable "structured" {
  type = list(strng)
}

variable "wrong_default" {
  type    = list(string)
  default = 5
}

variable "calling" {
  default = env("CANARY_ENV")
}

variable "naming" {
  default = appointments
}

variable "huge" {
  type    = number
  default = "1e999999999"
}

variable "missing" {
  type = string
}

variable "misspelt" {
  defalt    = "CANARY-LITERAL"
  sensitive = true
}

variable "undecided" {
  default   = ["CANARY-LITERAL", 5, upper("x")]
  sensitive = "perhaps"
}

variable "secret" {
  type      = number
  default   = "CANARY-LITERAL"
  sensitive = true
}

variable "missing" {
  default = "CANARY-LITERAL"
}

variable {
  default = "CANARY-LITERAL"
}
