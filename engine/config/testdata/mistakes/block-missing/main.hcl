pipeline "appointments" {
}
