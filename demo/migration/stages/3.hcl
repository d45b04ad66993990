backend "old" {
  zmq    = ["tcp://127.0.0.1:5560"]
  socket = "DEALER"
}

backend "new" {
  grpc = ["127.0.0.1:50051"]
}

zmq "greet" {
  socket  = "REP"
  method  = "/demo.v1.Greeter/SayHello"
  timeout = "5s"
  to "old" {
    weight = 99
  }
  to "new" { # 1, then 10, then 50
    weight = 1
  }
}

grpc "/demo.v1.Greeter/*" { # new clients come to the same port, and share the canary
  to "old" {
    weight = 99
  }
  to "new" {
    weight = 1
  }
}
