listen "127.0.0.1:5555" {}
relay "m" {
  dial = [tcp://127.0.0.1:5560]
}
