listen 5555 {
  name: public
}
relay:
  dial: tcp://127.0.0.1:5560
