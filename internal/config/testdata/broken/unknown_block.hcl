listen "127.0.0.1:5555" {}
rellay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
