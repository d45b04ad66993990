listen "127.0.0.1:5555" {}
relay "both" {
  match {
    source = ["0.0.0.0/1", "128.0.0.0/1", "fd00::/9", "fd80::/9"]
  }
  dial = ["tcp://127.0.0.1:5560"]
}
relay "v4" {
  match {
    source = ["0.0.0.0/0", "fd00::/8"]
  }
  dial = ["tcp://127.0.0.1:5561"]
}
