listen "127.0.0.1:5555" {}
backend "greeter" {
  grpc = ["127.0.0.1:50051"]
}
backend "next" {
  grpc = ["127.0.0.1:50051"]
}
grpc "/a.B/*" {
  to "greeter" {
    weight = 0
  }
  to "next" {
    weight = 0
  }
}
grpc "/a.C/*" {
  to "greeter" {
    weight = 90
  }
  to "next" {}
}
grpc "/a.D/*" {
  to "greeter" {
    weight = 100
  }
}
grpc "/a.E/*" {
  to "greeter" {}
  to "greeter" {}
}
grpc "/a.F/*" {
  to "greeter" {
    weight = -1
  }
  to "next" {
    weight = "10"
  }
}
