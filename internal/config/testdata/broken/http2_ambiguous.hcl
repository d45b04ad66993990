listen "127.0.0.1:5555" {}
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}
grpc "*" {
  to "greeter" {}
}
relay "h2" {
  match {
    protocol = "http2"
  }
  dial = ["tcp://127.0.0.1:8080"]
}
