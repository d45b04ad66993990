// Zmq_pull is a ZeroMQ PULL server that prints what it receives.
package main

import (
	"os"

	"gateway/demo/peers"
)

func main() {
	os.Exit(peers.Main(peers.Server{
		Name:   "zmq_pull",
		About:  "a ZeroMQ PULL server that prints what it receives",
		Listen: "tcp://127.0.0.1:5560",
		As:     "pull",
		Serve:  peers.Pull,
	}.Program()))
}
