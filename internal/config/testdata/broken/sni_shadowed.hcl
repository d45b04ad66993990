listen "127.0.0.1:5555" {}
relay "all" {
  match {
    protocol = "tls"
    sni      = ["*.example", "other.test"]
  }
  dial = ["tcp://127.0.0.1:8443"]
}
relay "deep" {
  match {
    protocol = "tls"
    sni      = ["*.deep.example", "www.example"]
  }
  dial = ["tcp://127.0.0.1:8444"]
}
relay "top" { # not below itself
  match {
    protocol = "tls"
    sni      = ["example", "other.test"]
  }
  dial = ["tcp://127.0.0.1:8445"]
}
relay "rest" {
  match { protocol = "tls" }
  dial = ["tcp://127.0.0.1:8446"]
}
relay "late" {
  match {
    protocol = "tls"
    sni      = ["late.test"]
  }
  dial = ["tcp://127.0.0.1:8447"]
}
