// Package grpcproxy carries gRPC calls from clients to backends, choosing by method.
//
// A Proxy serves HTTP/2 connections that a listener gives it, plain or in TLS that the listener ends. Each call goes to the
// most specific route that fits its method, and there to a backend by weight, and to one of the backend's targets. What the
// proxy itself answers:
//
//   - no route: UNIMPLEMENTED
//   - no connection to the backend: UNAVAILABLE, with the backend's name; the cause is in the log and in Status
//   - a message or header fields over a limit, too many calls of a route, or too many waiting: RESOURCE_EXHAUSTED
//   - a route's timeout: DEADLINE_EXCEEDED
//   - HTTP/2 that is not gRPC: HTTP status 415 and a sentence
//
// # Routes and plans
//
// A Route has a pattern: a full method before a service before "*". Of the routes with one pattern the first whose Metadata
// the call carries is taken, those that ask nothing last. Weighted backends are chosen from for each call anew.
//
// Plan checks a new set of routes and backends, Apply puts it to work between two calls, also of connections that are open.
// What is equal in both sets stays: connections, ejections, limits, turns. A backend that no route names any more is closed
// when its last call is over.
//
// A route can bound the time of a call (the smaller of it and the caller's deadline counts, and is what the backend is told),
// its messages both ways, the calls a second and those in flight; who is over gets RESOURCE_EXHAUSTED with google.rpc.RetryInfo.
// It can set and remove metadata. All else arrives as it was sent, in its order: :authority, user-agent, traceparent too.
//
// # Targets
//
// A backend's targets are addresses, unix sockets, or names, which are looked up every 30 s and after failures. Service records
// (srv:///) share calls by their weights; those of a later priority are spares (RFC 2782). Calls are balanced one by one:
//
//   - round_robin: in turn
//   - least_request: to the one with the fewest calls in flight
//   - ring_hash: by the value of a metadata key, the same value to the same target; one that goes moves its own share
//
// A target is left out while grpc.health.v1 says that it is not SERVING (Backend.Health), and for 1 s, then longer each time,
// after five calls in a row that ended UNAVAILABLE, but never the last one. One that cannot be reached is tried again after
// 100 ms, then after longer, 10 s at most. TLS and mTLS are spoken where Backend.TLS says so; who is not the host, or the
// authority, that was named gets no call.
//
// # Calls that fail
//
// A call that no backend can have seen (a refused stream, one above GOAWAY's last, no connection) is sent again by itself,
// so that a restart or MaxConnectionAge costs no call. Others are tried again as Retry says: its codes, its attempts, with
// back-off or as the server's grpc-retry-pushback-ms says, within a budget, until response headers have come, and while no
// more than 256 KiB were sent. The backend reads in grpc-previous-rpc-attempts how often. WaitForReady lets calls wait, 30 s
// at most, for a backend that is away.
//
// # Mirrors
//
// A Mirror copies a share of the calls, unary and server streaming, when they are over, behind a queue that drops when it is
// full. Answers are compared as bytes, or as protobuf messages with fields to ignore, by reflection or a descriptor set.
// Status and gateway_grpc_mirrored_total tell what came of it, and Status, where it is asked for, what differed. A mirror that
// hangs, dies or answers without end neither slows nor changes a real call.
//
// # The gateway's own services
//
// With Options.OwnServices the gateway answers grpc.health.v1, for itself (""), for each backend by name and for services by
// their routes, and server reflection, v1 and v1alpha, with the services of all backends: grpcurl needs no flags. A route that
// names these services sends them to its backend instead.
//
// # Limits
//
// Streams a connection (StreamsMax), header fields (HeaderBytesMax), messages (MessageBytesMax) and everything that is held
// back for slow readers, retries and mirrors (BufferBytesMax) are bounded; so are waiting calls, what a peer may leave unread or
// unfinished, and how often it may do what carries no call forward: abuse.go, watch.go and output.go say how much. A peer that
// goes too far loses its connection, counted in gateway_grpc_abuses_total; other connections do not feel it. A silent peer is
// sent a PING (Keepalive).
//
// # The engine
//
// Calls are forwarded at the level of HTTP/2 frames. Header fields are decoded and encoded again, in their order, as
// HPACK's state belongs to a connection; message bytes are copied and not looked at, but for their length. A caller's
// stream is mapped to a stream on a connection to a target, which calls of many callers share.
//
//	frame.go  input.go  blockreader.go   bytes to frames and header blocks
//	conn.go  receive.go  settings.go     a connection: its reader, and what each frame does
//	send.go  output.go                   what is sent: windows, batches, sockets that are full
//	half.go  call.go  answer.go          a stream, and the call that joins two of them
//	caller.go  target.go  backend.go     the two roles of a connection, and where connections come from
//	name.go  tier.go  balance.go         which target: names, priorities and weights, turns and rings
//	loop_linux.go                        who reads: event loops
//
// On Linux, plaintext connections are read by event loops, one a processor; they cost no goroutine. TLS and other systems
// take a goroutine a connection. There is none for a stream.
package grpcproxy
