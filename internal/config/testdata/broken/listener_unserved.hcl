listen "127.0.0.1:5555" {
  name = "public"
}
listen "127.0.0.1:5556" {}
relay "messages" {
  match {
    listen = ["public"]
  }
  dial = ["tcp://127.0.0.1:5560"]
}
