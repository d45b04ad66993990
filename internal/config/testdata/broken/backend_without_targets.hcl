listen "127.0.0.1:5555" {}
backend "greeter" {}
grpc "*" {
  to "greeter" {}
}
