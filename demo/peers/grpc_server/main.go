// Grpc_server is a gRPC server: the Greeter, with health and reflection.
package main

import (
	"os"

	"gateway/demo/peers"
)

func main() {
	os.Exit(peers.Main(peers.Server{
		Name:   "grpc_server",
		About:  "a gRPC server: the Greeter, with health and reflection",
		Listen: "127.0.0.1:50051",
		As:     "greeter",
		Serve:  peers.Serve,
	}.Program()))
}
