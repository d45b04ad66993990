listen "127.0.0.1:5555" {
  max_connections = 0
  max_sniffing    = -1
}
listen "127.0.0.1:5556" {
  max_connections = 10
  max_sniffing    = 20
}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
