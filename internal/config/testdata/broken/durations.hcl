listen "127.0.0.1:5555" {
  sniff_timeout = "5"
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
  idle_timeout    = "1d"
  connect_timeout = "-5s"
}
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}
grpc "*" {
  timeout = 5
  to "greeter" {}
}
grpc "/a.B/*" {
  timeout = "5 secs"
  to "greeter" {}
}
grpc "/c.D/*" {
  timeout = "soon"
  to "greeter" {}
}
drain_timeout = "0s"
