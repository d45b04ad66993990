listen "127.0.0.1:5555" {}
relay "names" {
  match {
    protocol = "tls"
    sni = [
      "*",
      "192.0.2.1",
      "www.example:443",
      "https://www.example/",
      ".example",
      "www.example.",
      "w*.example",
      "münchen.example",
    ]
  }
  dial = ["tcp://127.0.0.1:8443"]
}
relay "one" {
  match {
    protocol = "tls"
    sni      = "www.example"
  }
  dial = ["tcp://127.0.0.1:8443"]
}
