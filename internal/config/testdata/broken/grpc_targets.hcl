listen "127.0.0.1:5555" {}
backend "greeter" {
  grpc = [
    "tcp://127.0.0.1:50051",
    "dsn:///greeter:50051",
    "dns://greeter:50051",
    "dns:///greeter",
    "unix:/run/greeter.sock",
    "unix://",
    "127.0.0.1",
    "srv:///greeter",
  ]
  authority = "http://greeter"
}
grpc "*" {
  to "greeter" {}
}
