listen "127.0.0.1:5555" {}
relay "web" {
  match {
    sni = ["www.example"]
  }
  dial = ["tcp://127.0.0.1:8443"]
}
