//go:build soak

package e2e

const (
	reloads         = 100
	reloadZMTPConns = 2000
	reloadStreams   = 500

	pairedPeers    = 50  // clients, and as many workers
	pairedRequests = 200 // of each client
)
