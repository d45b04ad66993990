# The gateway's configuration: what `gateway serve` reads when nothing else is named. `gateway check` tells whether it
# is right, `gateway fmt -w` tidies it; demo/full.hcl shows every word there is.

# The one exposed port. 127.0.0.1 lets in this machine alone; "0.0.0.0:5555" lets in the world.
listen "127.0.0.1:5555" {}

# ZeroMQ connections are relayed byte by byte to a program that binds, with CURVE or without.
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"] # several: the one with the fewest connections is dialled
}

# gRPC calls are balanced one by one over the servers of a backend.
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}

grpc "*" { # or "/package.Service/*", or "/package.Service/Method": the most specific block takes the call
  to "greeter" {}
}

# Any other protocol that is recognised can share the port: http1, tls, ssh.
# relay "ssh" {
#   match { protocol = "ssh" }
#   dial = ["tcp://127.0.0.1:22"]
# }

# Metrics, health and status, for this machine alone.
admin {
  listen = "127.0.0.1:9901"
}
