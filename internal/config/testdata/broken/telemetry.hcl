listen "127.0.0.1:5555" {}
relay "r" {
  dial = ["tcp://127.0.0.1:1"]
}
telemetry {
  otlp  = "127.0.0.1:4318"
  ratio = 2
}
