listen "127.0.0.1:5555" {}

relay "both" {
  match {
    source = ["10.0.0.0/8"]
  }
  dial    = ["tcp://127.0.0.1:3333"]
  balance = "round_robin"
  workers {
    listen = "127.0.0.1:5556"
    token  = "hunter2"
    max_wait = 22
  }
  affinity = "identity"
}

relay "open" {
  match {
    protocol = "ssh"
  }
  workers {
    listen = "0.0.0.0:5555"
    agents = "yes"
    tls {
      cert = "door.crt"
    }
  }
  affinity = "sorce"
}

relay "dialled" {
  dial          = ["tcp://127.0.0.1:3334"]
  wait          = "5s"
  affinity_wait = "1s"
}

relay "nowhere" {
  workers {
    token = ""
  }
}

relay "none" {}
