listen "127.0.0.1:5555" {}
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}
grpc "demo.v1.Greeter/SayHello" {
  to "greeter" {}
}
grpc "/demo.v1.Greeter" {
  to "greeter" {}
}
grpc "/*" {
  to "greeter" {}
}
grpc "/demo.v1.Greeter/Say*" {
  to "greeter" {}
}
grpc "" {
  to "greeter" {}
}
grpc "Greeter" {
  to "greeter" {}
}
