// Package bridge turns ZeroMQ messages into gRPC calls and gRPC calls into ZeroMQ messages.
//
// # ZeroMQ in
//
// An [Inlet] serves the clients of a zmq block. What it does with a message depends on the socket that it plays:
//
//	plays    clients        a message becomes
//	REP      REQ, DEALER    a unary call; one at a time for each client, in order
//	ROUTER   REQ, DEALER    a unary call, several at a time; with Stream a message of the client's bidirectional call
//	PULL     PUSH           a unary call whose reply is not looked at; with Stream a message of the client's client stream
//	PUB      SUB            each topic that a client asks for is a server stream, whose messages it gets
//
// A request's envelope is all up to its first empty frame, and goes before the reply. REP insists on it, as every REQ sends
// one; a ROUTER takes a message without one whole. The reply to a request is either the payload or an error: an empty frame
// and a serialized google.rpc.Status. Every request gets one of them. The same two frames end a stream: with an empty
// second frame, which is the status OK, it ended well. A client that sends them ends its part of the stream.
//
// Without a Method an Inlet forwards: frames go unchanged to ZeroMQ backends, with the client's routing id stacked before
// them, and back.
//
// # ZeroMQ out
//
// A [Backend] is a gRPC server, reached over a connection within the process, in front of a ZeroMQ service:
//
//	plays    a call becomes
//	REQ      an empty frame and the request; one call at a time on each connection, more connections as needed
//	DEALER   8 bytes of an id, an empty frame and the request; the reply must come behind the same two frames, as every REP
//	         sends it. Many calls share a connection. A stream sends each message behind its id.
//	PUSH     each message of the call is pushed; the reply is empty
//	SUB      the call is a server stream of what comes, by the topic that its request names
//
// Nobody tells a Backend which kind a method is. It ends a call on a DEALER when the caller has sent all, and as many
// replies have come as requests went, or when the two frames of a status have come.
//
// The service gateway.v1.Bridge is answered by every Backend, whatever its payload.
//
// # Payload
//
// [Proto]: the one frame is the serialized message, which is not looked at. [JSON]: the one frame is the message in
// protobuf's JSON. [Envelope]: all frames are one gateway.v1.Multipart.
//
// # What becomes of calls
//
//	no peer                                          UNAVAILABLE
//	the peer was lost after the request was sent     UNAVAILABLE, with the trailer grpc-retry-pushback-ms: -1
//	a high-water mark is reached, or too large       RESOURCE_EXHAUSTED
//	no reply in time                                 DEADLINE_EXCEEDED
//	the request cannot be turned into the payload    INVALID_ARGUMENT
//	the service's reply is malformed                 INTERNAL
//	the backend's socket cannot do it                UNIMPLEMENTED
//	the ZeroMQ service refuses the gateway's key     UNAUTHENTICATED
//
// A message is sent at most once. Queues are bounded, in messages and in bytes.
package bridge
