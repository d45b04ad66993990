// Package dial carries connections to workers that bind: for each client it dials one of a block's targets and relays
// the bytes (package relay).
//
// A target is written tcp://host:port, unix:///path or ipc:///path (the same; a path that starts with @ is an abstract
// socket's name). A host name stands for all its addresses: each is a candidate of its own, with its own count of
// connections and its own failures. Names are looked up again when the last answer is older than
// Options.ResolveEvery, in the background while the old addresses still serve; a dial that failed asks again sooner.
//
// # Which target
//
// Among the candidates that are not ejected, the balance decides: the one with the fewest open connections, or each in its
// turn. A candidate that failed Options.EjectAfter times in a row is ejected: left out, for a time that doubles with each
// further failure. When the time is over, one connection tries it while the others still leave it out. A client never waits
// for an ejection to end: when all are ejected, the one that would return first is tried.
//
// When a candidate refuses or does not answer within Options.ConnectTimeout the next one is tried, each once, until
// Options.DialTimeout. A unix socket whose backlog is full refuses; the last candidate is then tried until
// Options.ConnectTimeout, as TCP does by itself. The error then (Error) lists every candidate and why. A client that leaves meanwhile is not
// watched: what it sent before it left may be meant to arrive, and the bound above frees its connection.
//
// # Whose connection it is
//
// A target sees the gateway's address. With Options.ProxyHeader it is told the client's, in a PROXY header of version 2
// before the client's first byte; it must be ready for that.
//
// # Ownership
//
// All state (counts, ejections, addresses) is in the Backend, none in the configuration: a block that a reload leaves
// as it is keeps its Backend, and with it everything that is known about its targets.
package dial
