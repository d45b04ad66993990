listen "127.0.0.1:5555" {
  name = "public"
}

admin {
  listen = "127.0.0.1:9901"
}
