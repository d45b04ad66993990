listen "127.0.0.1:0" {}
listen "127.0.0.1:0" {}
listen "127.0.0.1:5555" {}
listen "127.0.0.1:5555" {}
listen "[::]:6666" {}
listen "127.0.0.1:6666" {}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
