# /etc/gateway/gateway.hcl, for the unit beside it: owned by root, readable by the group gateway.

# As gateway.socket has it: the socket comes from systemd then.
listen "0.0.0.0:5555" {
  name            = "public"
  max_connections = 20000 # two descriptors each: LimitNOFILE of the unit
}

limits {
  per_source     = 1000
  new_per_source = 200
}

relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}

backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}

grpc "*" {
  to "greeter" {}
}

# For root and the group gateway: gateway status -admin unix:///run/gateway/admin.sock
admin {
  listen = "unix:///run/gateway/admin.sock"
}

meter {
  file = "/var/lib/gateway/meter.json" # who still speaks ZeroMQ outlives a restart
}

log {
  format = "json" # the journal keeps it
}

drain_timeout = "30s" # less than TimeoutStopSec
