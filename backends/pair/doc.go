// Package pair brings clients and workers together that both connect to the gateway: each client is paired with one worker
// for as long as it is connected, and bytes go both ways, untouched, with any security mechanism and without any key here.
//
//	meeting := pair.New(pair.Options{Block: "vault", Mechanisms: []zmtp.Mechanism{zmtp.MechanismCurve}})
//	meeting.Offer(pair.Worker, conn, done) // from the workers' door: speaks ZMTP
//	meeting.Offer(pair.Agent, conn, done)  // from there too: a slot of an agent
//	meeting.Offer(pair.Client, conn, done) // from the exposed port
//
// # Who meets whom
//
// A client gets a free worker of the least loaded identity: of the agent, or the machine, with the fewest clients. Of its
// workers the freshest is taken, since libzmq gives up on a connection that nobody answers for 30 seconds; one that is about to
// do so is taken last. Without a free worker the client waits: first come, first served, Options.WaitingMax of them, each for
// Options.Wait.
//
// With an affinity, a client has a favourite among the identities, always the same, and an order of fallbacks (rendezvous
// hashing). It waits Options.AffinityWait for a favourite that is busy, then takes the next in rank that is free.
//
// # The gate
//
// Without Options.Mechanisms nothing is looked at, and pairs are byte-identical from the first byte on. With them a client is
// answered in its worker's place until it has shown a well-formed first command: of CURVE the HELLO of 202 bytes. Only then is a
// worker taken. The handshake is carried command by command after that; one that does not complete in Options.HandshakeTimeout,
// or is not even well-formed, gives the worker back. What cannot be seen without a key is whether a HELLO was made for the
// worker's key: a libzmq worker that connects does not survive one that was not. Sources whose handshakes keep failing are let
// try less and less often (sources.go); an agent's worker survives anyway.
//
// # What connecting workers cannot have
//
// A libzmq worker sees the gateway's address, for ZAP too. One DEALER, SUB, PUB or REQ socket has one connection, however
// often it connects: it is one slot. A reply that it computes after its client has left goes to its next client, unless it is a REP
// or ROUTER with ZMQ_IMMEDIATE set. A handshake with a wrong key, and every other protocol error, ends its connecting for good.
// An agent beside a worker that binds (package agent) has none of these limits but the first.
//
// # Ownership
//
// Who is in the room has a read pending on it, so that its end is noticed at once; what it sends meanwhile is kept, up to 4 KiB.
// TCP keepalive finds machines that are gone within half a minute. REQUIREMENTS.md says which requirement is met where.
package pair
