locals {
  a      = local.b
  b      = "${local.c}!"
  c      = { x = [local.a] }
  into   = local.a
  itself = [local.itself]
  record = change.data.site
  other  = source.rest.clinic
  nobody = local.bodys
  called = upper(["x"])
  twice  = 1
  block { x = 1 }
}

locals {
  twice = 2
  s0    = "0123456789abcdef"
  s1    = "${local.s0}${local.s0}${local.s0}${local.s0}${local.s0}${local.s0}${local.s0}${local.s0}"
  s2    = "${local.s1}${local.s1}${local.s1}${local.s1}${local.s1}${local.s1}${local.s1}${local.s1}"
  s3    = "${local.s2}${local.s2}${local.s2}${local.s2}${local.s2}${local.s2}${local.s2}${local.s2}"
  s4    = "${local.s3}${local.s3}${local.s3}${local.s3}${local.s3}${local.s3}${local.s3}${local.s3}"
  s5    = "${local.s4}${local.s4}${local.s4}${local.s4}${local.s4}${local.s4}${local.s4}${local.s4}"
  s6    = "${local.s5}${local.s5}${local.s5}${local.s5}${local.s5}${local.s5}${local.s5}${local.s5}"
  s7    = "${local.s6}${local.s6}${local.s6}${local.s6}${local.s6}${local.s6}${local.s6}${local.s6}"
  s8    = "${local.s7}${local.s7}${local.s7}${local.s7}${local.s7}${local.s7}${local.s7}${local.s7}"
  n     = 1e1000 * 1e1000
}

locals "named" {
  x = 1
}
