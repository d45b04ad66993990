// Zmq_push is a ZeroMQ PUSH client that sends numbered messages.
package main

import (
	"context"
	"flag"
	"os"

	"gateway/demo/peers"
)

func main() {
	os.Exit(peers.Main(peers.Program{
		Name:  "zmq_push",
		About: "a ZeroMQ PUSH client that sends numbered messages",
		Hint:  "Start the gateway (bin/gateway serve) and bin/zmq_pull, or give another address with -connect.",
		Setup: func(flags *flag.FlagSet) func(context.Context, peers.Report) error {
			client := peers.Client{Name: "push"}
			client.Flags(flags)
			return func(ctx context.Context, report peers.Report) error { return peers.Push(ctx, client, report) }
		},
	}))
}
