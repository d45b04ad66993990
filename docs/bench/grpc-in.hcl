# The gateway: gRPC calls become requests of a ZeroMQ service.
listen "127.0.0.1:7001" {
  max_connections = 20000
  max_sniffing    = 20000
}

backend "bench" {
  zmq    = ["tcp://127.0.0.1:7002"]
  socket = "DEALER"
}

grpc "*" {
  to "bench" {}
}

log {
  level = "warn"
}
