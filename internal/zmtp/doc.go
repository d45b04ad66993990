// Package zmtp speaks the ZeroMQ Message Transport Protocol, 3.0 and 3.1 (RFC 23 and 37), over any net.Conn, with the
// mechanisms NULL, PLAIN (RFC 24) and CURVE (RFC 25 and 26) in every role. It is made for peers that nobody vouches for:
// whatever they send, the answer is a message or an error that says where and why, memory follows the bytes that came
// and not the sizes that were announced, and every wait ends.
//
// A connection that was accepted, and one that is dialled:
//
//	server := zmtp.Options{SocketType: zmtp.ROUTER, Security: zmtp.CurveServer{Secret: secret}}
//	conn, err := zmtp.Accept(ctx, netConn, server)
//
//	client := zmtp.Options{SocketType: zmtp.DEALER, Security: zmtp.CurveClient{Server: public}}
//	conn, err := zmtp.Dial(ctx, "tcp", "127.0.0.1:5555", client)
//
// Then messages go both ways:
//
//	var m zmtp.Message
//	for conn.Recv(&m) == nil { // reuses m's memory: Clone what must last
//		err = conn.Send(ctx, &m) // waits while the peer does not keep up; TrySend does not
//	}
//
// From the wire upwards:
//
//	greeting, frame, command, metadata, subscription, z85    codecs: pure, bytes in, values out
//	null, plain, curve*                                      mechanisms: state machines without I/O
//	greeter, ladder, shake                                   the start of a connection, step by step or at once
//	reader, writer, heartbeat, conn                          the connection after its handshake
//	curveconn, curvetransport                                CURVE for programs that know NULL only
//	keys, keyfile                                            keys, and the files that hold them
//
// A Ladder answers a new connection no further than it takes to decide what to do with it: look at the greeting, at READY
// or at HELLO, then terminate the connection or hand it to a relay, which has missed nothing.
//
// Errors: a *ProtocolError is the peer's fault and has a Step and a Reason, which are fit for a metric's label; a
// *PeerError is the peer's own ERROR command; ErrTooLarge, ErrRefused, ErrOldVersion, ErrHandshakeTimeout, ErrSilent,
// ErrFull and ErrClosed are found by errors.Is. SPEC.md says which rule of the specifications is kept where, and which
// test shows it.
//
// Limits, all of them fields of Options with defaults: the time of the handshake, the bytes of a frame, of a message and
// of the metadata, the parts of a message, the bytes waiting to be written. Fixed ones: 64 KiB for a command, 1000
// commands other than subscriptions a second, 16 heartbeats waiting to be written.
package zmtp
