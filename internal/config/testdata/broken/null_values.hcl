listen "127.0.0.1:5555" {
  name          = null
  sniff_timeout = null
}
relay "messages" {
  dial = null
}
