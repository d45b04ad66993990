listen "127.0.0.1:5555" {}

sockjs "/" {
  push = "tcp://*:9241"
  pull = "tcp://127.0.0.1:9242"
}
