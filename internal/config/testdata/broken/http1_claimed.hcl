listen "127.0.0.1:5555" {}

relay "web" {
  match {
    protocol = "http1"
  }
  dial = ["tcp://127.0.0.1:8080"]
}

sockjs "/chat" {
  push = "tcp://127.0.0.1:9241"
  pull = "tcp://127.0.0.1:9242"
}
