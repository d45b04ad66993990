listen "127.0.0.1:5555" {
  sources = ["10.0.0.0/8"]
}
listen "127.0.0.1:5556" {
  source = "10.0.0.0/8"
}
limits {
  per_source     = 0
  new_per_source = "200/s"
  per_sorce      = 10
  buffers        = 256
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
