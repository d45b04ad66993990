listen "127.0.0.1:5555" {}
relay "everyone" {
  dial = ["tcp://127.0.0.1:5560"]
}
relay "office" {
  match {
    source = ["10.0.0.0/8"]
  }
  dial = ["tcp://127.0.0.1:5561"]
}
