# The gateway: ZMTP is sniffed, then relayed; gRPC is forwarded call by call.
listen "127.0.0.1:7001" {
  max_connections = 20000
  max_sniffing    = 20000
}

relay "bench" {
  dial = ["tcp://127.0.0.1:7002"]
}

log {
  level = "warn"
}
