listen "127.0.0.1:5555" {}

relay "keyless" {
  match {
    mechanism = ["NULL", "PLAIN"]
  }
  dial = ["tcp://127.0.0.1:5560"]
}

relay "push" {
  match {
    socket_type = ["PUSH"]
  }
  dial = ["tcp://127.0.0.1:5561"]
}

relay "vault" {
  match {
    mechanism = ["CURVE"]
  }
  dial = ["tcp://127.0.0.1:5562"]
}
