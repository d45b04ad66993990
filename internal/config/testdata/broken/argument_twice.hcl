listen "127.0.0.1:5555" {
  name = "a"
  name = "b"
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
