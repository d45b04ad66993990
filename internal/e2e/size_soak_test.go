//go:build soak

package e2e

import "time"

const (
	reloads         = 100
	reloadZMTPConns = 2000
	reloadStreams   = 500

	queuedPeers = 200 // clients that wait for a worker, and workers that wait for a client

	pairedPeers    = 50  // clients, and as many workers
	pairedRequests = 200 // of each client

	idleHandshakeTimer = time.Duration(0) // libzmq's own, 30s
	idleRetire         = "22s"
	idleFor            = 35 * time.Second
	idlePace           = 1500 * time.Millisecond

	browserMessages = 1000 // echoed by each transport
	sockJSSessions  = 2000 // at once
	sockJSMessages  = 10   // echoed by each

	badClientsPerKind = 100

	goodWithin  = time.Second // a good client is served, whoever else comes
	freedWithin = time.Second // the other side is free after a kill -9
	idleLostMax = 5           // requests that get no answer within answerWait, of a client that meets a worker that idled

	upgrades    = 20
	upgradeRate = 500

	mixedConnections      = 1_000_000
	mixedWithRaceDetector = false    // memory is what counts
	mixedGrowthMax        = 16 << 20 // bytes

	lossMessages = 20_000 // pushed one after the other
	lossRequests = 1000   // of each paired client
	lossCalls    = 500    // on each stream

	// Nothing is set: keepalive and retransmissions find who is gone within three minutes.
	silentWait    = 4 * time.Minute
	silentIdle    = ""
	silentMaxWait = "0s"
	silentRetries = 0 // the kernel's own
)
