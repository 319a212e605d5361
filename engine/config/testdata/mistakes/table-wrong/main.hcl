table "nulls" {
  values  = null
  csv     = null
  default = null
}

table "neither" {
  default = "none"
}

table "both" {
  values = { A = "a" }
  csv    = "twice.csv"
}

table "twice_inline" {
  values = {
    A     = "a"
    B     = "b"
    "A"   = "c"
    (1)   = "one"
    ("1") = "uno"
  }
}

table "columns_inline" {
  values = { A = "a" }
  key    = "code"
}

table "no_columns" {
  csv = "twice.csv"
  key = "code"
}

table "no_file" {
  csv   = "twise.csv"
  key   = "code"
  value = "name"
}

table "no_column" {
  csv   = "twice.csv"
  key   = "cod"
  value = "name"
}

table "same_column" {
  csv   = "columns.csv"
  key   = "code"
  value = "name"
}

table "twice" {
  csv   = "twice.csv"
  key   = "code"
  value = "name"
}

table "fields" {
  csv   = "fields.csv"
  key   = "code"
  value = "name"
}

table "quotes" {
  csv   = "quotes.csv"
  key   = "code"
  value = "name"
}

table "unclosed" {
  csv   = "unclosed.csv"
  key   = "code"
  value = "name"
}

table "no_key" {
  csv   = "no_key.csv"
  key   = "code"
  value = "name"
}

table "empty" {
  csv   = "empty.csv"
  key   = "code"
  value = "name"
}

table "binary" {
  csv   = "binary.csv"
  key   = "code"
  value = "name"
}

table "directory" {
  csv   = "."
  key   = "code"
  value = "name"
}

table "wrong" {
  values = ["a"]
}

table "using" {
  values = { A = local.x, B = table.twice["A"] }
}

table "twice" {
  values = {}
}

locals { x = "x" }
