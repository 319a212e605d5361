source "rest" "clinic" {
  base_url = env("EHR_URL")
  auth "basic" {
    username = secret("clinic_user")
    password = secret("../clinic_token")
  }
  feed "appointments" {
    path = file("appointment.txt")
    id   = secret("empty")
  }
  feed "patients" {
    path = file(".")
    id   = "id"
  }
}
