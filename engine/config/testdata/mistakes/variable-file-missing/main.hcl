variable "site" {}
