listen "127.0.0.1:5555" {
  proxy_protocol {}
}
listen "127.0.0.1:5556" {
  proxy_protocol {
    trsut = ["10.0.0.0/8"]
  }
}
listen "127.0.0.1:5557" {
  proxy_protocol {
    trust = "10.0.0.1"
  }
}
listen "127.0.0.1:5558" {
  proxy_protocol = "v2"
}
relay "messages" {
  dial           = ["tcp://127.0.0.1:5560"]
  proxy_protocol = "v1"
}
relay "vault" {
  match { mechanism = ["CURVE"] }
  workers { listen = "127.0.0.1:5570" }
  proxy_protocol = "v2"
}
