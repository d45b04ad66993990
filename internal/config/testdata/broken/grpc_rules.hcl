listen "127.0.0.1:5555" {}
backend "a" {
  grpc    = ["srv:///a.internal:50051"]
  balance = "ring_hash"
  tls {
    cert = "gateway.crt"
  }
}
backend "b" {
  grpc     = ["127.0.0.1:50051"]
  hash_key = "X-User"
}
grpc "*" {
  match {}
  set_metadata    = { "X-Tenant" = "blue" }
  remove_metadata = ["grpc-timeout"]
  rate            = 0
  retry {
    on     = ["UNAVAIL", "OK"]
    budget = 0
  }
  mirror "c" {
    percent = 0
    compare = "json"
    samples = 11
  }
  mirror "b" {
    ignore  = ["served_by"]
    samples = 3
  }
  to "a" {}
}
