backend "old" {
  zmq    = ["tcp://127.0.0.1:5560"]
  socket = "DEALER"
}

backend "new" {
  grpc = ["127.0.0.1:50051"]
}

zmq "greet" { # the old service answers, the new one is compared with it
  socket  = "REP"
  method  = "/demo.v1.Greeter/SayHello"
  timeout = "5s"
  to "old" {}
  mirror "new" {
    compare = "proto"
    ignore  = ["served_by"]
    samples = 3
  }
}

relay "greeter" { # nobody new; who is connected stays until it leaves
  match {
    percent = 0
  }
  dial = ["tcp://127.0.0.1:5560"]
}
