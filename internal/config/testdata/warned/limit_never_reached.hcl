listen "127.0.0.1:5555" {
  max_connections = 10
  max_sniffing    = 20
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
