listen "0.0.0.0:5555" {
  name = "public"
}
listen "127.0.0.1:5555" {}
listen "127.0.0.1:5556" {
  name = "public"
}
listen "127.0.0.1:5557" {
  name = "two words"
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
