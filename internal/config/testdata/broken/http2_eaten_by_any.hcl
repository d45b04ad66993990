listen "127.0.0.1:5555" {
  name = "one"
}
listen "127.0.0.1:5556" {
  name = "two"
}
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}
grpc "*" {
  to "greeter" {}
}
relay "first" {
  match {
    protocol = "http2"
    listen   = ["one"]
  }
  dial = ["tcp://127.0.0.1:8080"]
}
relay "rest" {
  match {
    protocol = "any"
    listen   = ["two"]
  }
  dial = ["tcp://127.0.0.1:8080"]
}
