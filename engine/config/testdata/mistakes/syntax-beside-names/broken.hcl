variable "site" {
  default = 

locals {
  zone = "UTC"
}
