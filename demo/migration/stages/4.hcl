backend "new" {
  grpc = ["127.0.0.1:50051"]
}

zmq "greet" { # old clients, new service
  socket  = "REP"
  method  = "/demo.v1.Greeter/SayHello"
  timeout = "5s"
  to "new" {}
}

grpc "/demo.v1.Greeter/*" {
  to "new" {}
}
