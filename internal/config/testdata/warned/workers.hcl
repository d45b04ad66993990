listen "127.0.0.1:5555" {}

relay "vault" {
  workers {
    listen   = "127.0.0.1:5556"
    max_wait = "0s"
  }
  handshake_timeout = "3s"
  affinity_wait     = "1s"
}
