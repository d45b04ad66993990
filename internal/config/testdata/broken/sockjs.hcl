listen "127.0.0.1:5555" {}

sockjs "chat/" {
  push    = "tcp://127.0.0.1:5555"
  pull    = "127.0.0.1:9242"
  origins = ["app.example"]
  no_peer = "refused"
}

sockjs "/news" {
  push             = "tcp://127.0.0.1:9241"
  curve_clients    = "programs.keys"
  client_headers   = ["User Agent"]
  curve_server_key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
}

sockjs "/news" {
  push             = "tcp://127.0.0.1:9241"
  pull             = "tcp://127.0.0.1:9241"
  curve_secret_key = "hunter2"
  connect          = "yes"
}

sockjs "/dial" {
  push             = "tcp://:9243"
  pull             = "tcp://programs:9244"
  connect          = true
  curve_secret_key = "hunter2"
}
