listen "127.0.0.1:5555" {
  name = "public"
}
relay "messages" {
  match {
    listen = ["pubic", "inside"]
  }
  dial = ["tcp://127.0.0.1:5560"]
}
