listen "127.0.0.1:5555" {}
backend "pusher" {
  zmq    = ["tcp://127.0.0.1:5563"]
  socket = "PUSH"
}
backend "mixed" {
  grpc = ["127.0.0.1:50052"]
}
zmq "nothing" {}
zmq "nothing" {
  socket = "PULL"
  stream = true
  method = "Greeter/SayHello"
  to "pusher" {}
}
zmq "forwards" {
  match {
    protocol    = "ssh"
    mechanism   = ["CURVE"]
    socket_type = ["PUSH"]
  }
  socket       = "REP"
  payload      = "json"
  timeout      = "2s"
  plain_users  = "users.txt"
  curve_clients = "clients.keys"
  to "pusher" {}
  to "mixed" {}
}
zmq "calls" {
  socket           = "PUB"
  method           = "/demo.v1.Greeter/SayHello"
  stream           = true
  topic_field      = 0
  descriptors      = "x.binpb"
  curve_secret_key = ""
  plain_users      = "users.txt"
  to "pusher" {}
}
zmq "topics" {
  socket      = "ROUTER"
  method      = "/demo.v1.Greeter/SayHello"
  topic_field = 1
  payload     = "xml"
  to "mixed" {}
  to "nobody" {}
}
