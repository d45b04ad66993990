listen "127.0.0.1:5555" {}
relay "half" {
  match {
    percent = 50
  }
  dial = ["tcp://127.0.0.1:5560"]
}
relay "other_half" {
  match {
    percent = 50
  }
  dial = ["tcp://127.0.0.1:5561"]
}
relay "rest" {
  dial = ["tcp://127.0.0.1:5562"]
}
