//go:build !soak

package e2e

// The sizes of cases that have a larger one in make soak.
const (
	reloads         = 12
	reloadZMTPConns = 40
	reloadStreams   = 10

	pairedPeers    = 50 // clients, and as many workers
	pairedRequests = 40 // of each client
)
