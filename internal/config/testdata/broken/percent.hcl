listen "127.0.0.1:5555" {}
relay "messages" {
  match {
    percent = 101
  }
  dial = ["tcp://127.0.0.1:5560"]
}
relay "rest" {
  match {
    percent = -0.5
  }
  dial = ["tcp://127.0.0.1:5560"]
}
