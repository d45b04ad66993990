listen "127.0.0.1:5555" {}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
percent = 5
log {
  drain_timeout = "5s"
}
