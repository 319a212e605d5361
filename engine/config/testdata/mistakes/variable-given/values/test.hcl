sites = { a = "b" }
zone  = "CANARY-OF-NO-VARIABLE"
flag  = "perhaps"
token = upper("CANARY-TOKEN")

pin {
  is = "CANARY-PIN"
}
