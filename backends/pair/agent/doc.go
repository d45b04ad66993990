// Package agent is the program beside a worker that binds: it keeps connections to the gateway's workers' door, and dials the
// worker afresh for each client.
//
// A libzmq worker that connects to the door by itself pays for it: one client with a wrong key and it is gone for good; a reply
// computed for a client that left reaches the next one; a DEALER has one connection however often it connects; and its
// handshake timer closes what waits after 30 seconds. A worker that binds has none of that, and with an agent beside it
// need not be reachable from the gateway: the agent connects out, from behind NAT too, and gives its worker a name.
//
// # Slots
//
// An Agent keeps Options.Slots connections to each gateway that its address stands for, less the clients that it serves at the
// moment, through whichever gateway: the worker never has more than Slots clients. It reconnects for ever, ever more slowly up
// to Options.RetryMax.
//
// While the worker does not answer, the agent offers no slots; it looks for the worker in the same ever slower way.
//
// The protocol is described in protocol.go; the door's side of it is here too (Interview, Deny, Summon).
package agent
