relay "greeter" { # as it is: bytes, untouched
  dial = ["tcp://127.0.0.1:5560"]
}
