listen "127.0.0.1:5555" {
  proxy_protocol {
    trust = ["0.0.0.0/0"]
  }
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
