// Grpc_client is a gRPC client that asks a Greeter for greetings.
package main

import (
	"context"
	"flag"
	"os"

	"gateway/demo/peers"
)

func main() {
	os.Exit(peers.Main(peers.Program{
		Name:  "grpc_client",
		About: "a gRPC client that asks a Greeter for greetings",
		Hint:  "Start the gateway (bin/gateway serve) and bin/grpc_server, or give another address with -connect.",
		Setup: func(flags *flag.FlagSet) func(context.Context, peers.Report) error {
			client := peers.Client{Name: "client"}
			client.Flags(flags)
			flags.BoolVar(&client.Stream, "stream", false, "ask on one bidirectional stream instead of in a call each")
			return func(ctx context.Context, report peers.Report) error { return peers.Call(ctx, client, report) }
		},
	}))
}
