# The gateway with workers that connect in: each client gets a slot of the agent beside the backend.
listen "127.0.0.1:7001" {
  max_connections = 20000
  max_sniffing    = 20000
}

relay "bench" {
  workers {
    listen = "127.0.0.1:7101"
    agents = true
  }
}

log {
  level = "warn"
}
