lisen "127.0.0.1:5555" {}
relay "messages" {
  listen = ["public"]
  dail   = ["tpc://127.0.0.1:5560"]
}
backend "greeter" {
  wait {}
  grcp = ["127.0.0.1:50051"]
}
grpc "*" {
  to "greter" {}
}
drain_timeout = "30"
