listen "127.0.0.1:5555" {
  name            = 5
  max_connections = "20000"
  max_sniffing    = 2.5
}
relay "messages" {
  dial = "tcp://127.0.0.1:5560"
}
relay "ssh" {
  match {
    protocol = ["ssh"]
    source   = []
  }
  dial = [22]
}
