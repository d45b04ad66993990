listen "127.0.0.1:5555" {}
relay "my relay" {
  dial = ["tcp://127.0.0.1:5560"]
}
backend "" {
  grpc = ["127.0.0.1:50051"]
}
grpc "*" {
  to "" {}
}
