//go:build !soak

package e2e

import "time"

// The sizes of cases that have a larger one in make soak.
const (
	reloads         = 12
	reloadZMTPConns = 40
	reloadStreams   = 10

	queuedPeers = 20 // clients that wait for a worker, and workers that wait for a client

	pairedPeers    = 50 // clients, and as many workers
	pairedRequests = 40 // of each client

	// Workers whose timer is shortened, so that a short wait is a long one.
	idleHandshakeTimer = 2 * time.Second
	idleRetire         = "1500ms"
	idleFor            = 2200 * time.Millisecond
	idlePace           = 100 * time.Millisecond

	browserMessages = 1000 // echoed by each transport
	sockJSSessions  = 300  // at once
	sockJSMessages  = 3    // echoed by each

	badClientsPerKind = 10

	// What users are promised is shorter; a machine that is busy with other tests is no gateway.
	goodWithin  = 10 * time.Second // a good client is served, whoever else comes
	freedWithin = 10 * time.Second // the other side is free after a kill -9
	idleLostMax = 50               // requests that get no answer within answerWait, of a client that meets a worker that idled

	upgrades    = 2
	upgradeRate = 100 // connections a second

	mixedConnections      = 3000
	mixedWithRaceDetector = true
	mixedGrowthMax        = 128 << 20 // bytes; the race detector keeps some for itself

	lossMessages = 1000 // pushed one after the other
	lossRequests = 50   // of each paired client
	lossCalls    = 50   // on each stream

	// Time-outs and a kernel that give up soon.
	silentWait    = 30 * time.Second
	silentIdle    = `idle_timeout = "2s"`
	silentMaxWait = "2s"
	silentRetries = 3 // net.ipv4.tcp_retries2
)
