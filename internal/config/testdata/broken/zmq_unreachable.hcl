listen "127.0.0.1:5555" {}
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}
zmq "first" {
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "greeter" {}
}
zmq "second" {
  match {
    socket_type = ["REQ"]
  }
  socket = "ROUTER"
  method = "/demo.v1.Greeter/SayHello"
  to "greeter" {}
}
zmq "locked" {
  socket           = "REP"
  method           = "/demo.v1.Greeter/SayHello"
  curve_secret_key = "hunter2"
  to "greeter" {}
}
zmq "locked_too" {
  socket           = "REP"
  method           = "/demo.v1.Greeter/SayHello"
  curve_secret_key = "hunter3"
  to "greeter" {}
}
zmq "locked_again" {
  socket           = "PULL"
  method           = "/demo.v1.Greeter/SayHello"
  curve_secret_key = "hunter2"
  to "greeter" {}
}
relay "everything" {
  dial = ["tcp://127.0.0.1:5560"]
}
zmq "late" {
  socket = "PULL"
  method = "/demo.v1.Greeter/SayHello"
  to "greeter" {}
}
