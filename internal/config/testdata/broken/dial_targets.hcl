listen "127.0.0.1:5555" {}
relay "messages" {
  dial = [
    "tpc://127.0.0.1:5560",
    "127.0.0.1:5560",
    "tcp://127.0.0.1",
    "tcp://127.0.0.1:0",
    "tcp://:5560",
    "unix://",
    "unix://run/pull.sock",
    "unix:///run/a-path-that-is-much-longer-than-a-socket-may-have-since-the-kernel-keeps-it-in-a-small-array-of-bytes.sock",
    "http://127.0.0.1:80",
    "somewhere",
    "tcp://127.0.0.1:5561",
    "tcp://127.0.0.1:5561",
  ]
}
