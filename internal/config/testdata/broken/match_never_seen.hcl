listen "127.0.0.1:5555" {}

relay "vault" {
  match {
    mechanism   = ["CURVE", "NULL"]
    socket_type = ["PUHS"]
    identity    = ""
  }
  dial = ["tcp://127.0.0.1:5560"]
}

relay "ssh" {
  match {
    protocol  = "ssh"
    mechanism = ["NULL"]
  }
  dial = ["tcp://127.0.0.1:22"]
}

relay "slip" {
  match {
    mechanism = ["CURV", "gss", "GSSAPI"]
  }
  dial = ["tcp://127.0.0.1:5561"]
}

limits {
  held = 0
}
