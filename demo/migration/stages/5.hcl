backend "new" {
  grpc = ["127.0.0.1:50051"]
}

grpc "/demo.v1.Greeter/*" { # ZeroMQ clients that still come are kept silent, and counted
  to "new" {}
}
