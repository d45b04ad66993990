listen "127.0.0.1:5555" {}
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}
grpc "/a.Decimal/*" {
  max_message = "16MB"
  to "greeter" {}
}
grpc "/a.Short/*" {
  max_message = "64k"
  to "greeter" {}
}
grpc "/a.Bare/*" {
  max_message = "65536"
  to "greeter" {}
}
grpc "/a.Number/*" {
  max_message = 65536
  to "greeter" {}
}
grpc "/a.Fraction/*" {
  max_message = "1.5MiB"
  to "greeter" {}
}
grpc "/a.Huge/*" {
  max_message = "3GiB"
  to "greeter" {}
}
grpc "/a.Zero/*" {
  max_message = "0B"
  to "greeter" {}
}
grpc "/a.Words/*" {
  max_message = "lots"
  to "greeter" {}
}
