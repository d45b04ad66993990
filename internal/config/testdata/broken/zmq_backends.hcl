listen "127.0.0.1:5555" {}
backend "both" {
  grpc = ["127.0.0.1:50051"]
  zmq  = ["tcp://127.0.0.1:5560"]
}
backend "socketless" {
  zmq     = ["tcp://127.0.0.1:5560"]
  balance = "round_robin"
}
backend "mixed" {
  grpc   = ["127.0.0.1:50052"]
  socket = "DEALER"
}
backend "half" {
  zmq              = ["127.0.0.1:5561"]
  socket           = "PUSH"
  topic_field      = 1
  curve_secret_key = "hunter2"
}
backend "typeless" {
  zmq     = ["tcp://127.0.0.1:5562"]
  socket  = "REP"
  payload = "json"
}
backend "pusher" {
  zmq         = ["tcp://127.0.0.1:5563"]
  socket      = "PUSH"
  descriptors = "x.binpb"
}
grpc "*" {
  to "both" {}
}
