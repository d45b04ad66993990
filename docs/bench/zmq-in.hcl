# The gateway: ZeroMQ requests become calls of a gRPC service.
listen "127.0.0.1:7001" {
  max_connections = 20000
  max_sniffing    = 20000
}

backend "bench" {
  grpc = ["127.0.0.1:7002"]
}

zmq "bench" {
  socket = "REP"
  method = "/bench/unary"
  to "bench" {}
}

log {
  level = "warn"
}
