listen "127.0.0.1:5555" {}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
relay "messages" {
  match {
    protocol = "ssh"
  }
  dial = ["tcp://127.0.0.1:5561"]
}
