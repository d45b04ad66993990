listen "127.0.0.1:5555" {}
relay "messages" {
  match {
    source = [for n in ["10"]: "${n}.0.0.0/8"]
    listen = "public"
  }
  dial = [tcp]
}
