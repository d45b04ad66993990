listen "127.0.0.1:5555" {}
relay "m" {
  match {
    protocol = "zmtp"
  dial = ["tcp://127.0.0.1:5560"]
}

relay "ssh" {
  match { protocol = "ssh" }
  dial = ["tcp://127.0.0.1:22"]
}
