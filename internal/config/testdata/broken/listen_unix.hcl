listen "unix://run/edge.sock" {}
listen "unix:///run/edge.sock" {
  source = ["10.0.0.0/8"]
  proxy_protocol {
    trust = ["10.0.0.0/8"]
  }
}
listen "unix:///run/edge.sock" {
  name = "again"
}
listen "unx:///run/other.sock" {}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
admin {
  listen = "unix:///run/edge.sock"
}
