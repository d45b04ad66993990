listen "127.0.0.1:5555" {
  tls {
    cert = "edge.crt"
  }
}
listen "127.0.0.1:5556" {
  tls {
    cert = "there-is-none.crt"
    key  = "there-is-none.key"
  }
}
listen "127.0.0.1:5557" {
  tls {
    cert      = "networks.hcl"
    key       = "networks.txt"
    client_ca = "networks.hcl"
  }
  tls {
    certificate = "networks.hcl"
    key         = "networks.txt"
    client_ca   = "networks.txt"
  }
}
listen "127.0.0.1:5558" {
  tls = "edge.crt"
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
