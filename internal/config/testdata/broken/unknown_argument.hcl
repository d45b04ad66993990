listen "127.0.0.1:5555" {
  snif_timeout = "5s"
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
