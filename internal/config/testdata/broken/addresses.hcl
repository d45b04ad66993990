listen "127.0.0.1" {}
listen "5555" {}
listen "tcp://0.0.0.0:5555" {}
listen "127.0.0.1:70000" {}
listen "127.0.0.1:http" {}
listen "::1:5555" {}
listen "300.0.0.1:5555" {}
listen "my host:5555" {}
listen "" {}
listen "localhost" {}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
