relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
