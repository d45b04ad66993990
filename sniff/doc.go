// Package sniff finds out which protocol a new connection speaks, from the first bytes that its client sends, and
// hands it to whoever serves that protocol.
//
// # Probes
//
// A [Protocol] is a name and a [Probe]: a pure function from the bytes seen so far to a [Verdict], which is Accept,
// Reject, or NeedMore. [All] lists those that the package knows:
//
//	zmtp   FF 00, seven bytes that vary, 7F: the signature of ZMTP 2.0 and 3.x      10 bytes
//	http2  the client connection preface "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"         24 bytes
//	http1  a method of RFC 9110, RFC 5789 or RFC 4918, then a space                 10 bytes at most
//	tls    a handshake record that opens with a ClientHello                          6 bytes
//	ssh    "SSH-"                                                                    4 bytes
//
// Two rules make the order of the list irrelevant, and a fuzz test holds them: no prefix is accepted by two probes, and
// a verdict of Accept or Reject stays what it is when more bytes come. A probe asks for more only while some
// continuation would be accepted, so junk is known at its first wrong byte. [Classify] asks all probes at once;
// [Explain] tells what each of them says.
//
// # Serving a port
//
//	server := sniff.NewServer(sniff.Options{
//		Name: "public",
//		Handle: func(c *sniff.Conn, release func()) {
//			switch c.Protocol() {
//			case "zmtp", "ssh": // relayed: takes the raw connection, returns at once
//				relay(c, release)
//			default: // served by somebody who wants a net.Listener
//				mux.Feed(c, release)
//			}
//		},
//	})
//	err := server.Serve(listener)
//
// [Server] takes a slot among all connections and one among those being sniffed before it accepts, so that it never
// holds more than it may: the rest wait in the kernel's backlog. A connection has one deadline for all of sniffing,
// however slowly its client dribbles; the deadline is cleared before anybody else sees the connection. One read usually
// suffices; no more than 64 bytes are read. What cannot be matched goes to [Options.Otherwise], or is closed; it is
// counted, and logged at most once a second.
//
// Before that, a proxy in front may say whose connection it is ([Options.ProxyFrom]), and the client may not be welcome
// ([Options.Admit]). Afterwards [Options.TLS] may look further, under the same deadline: [Conn.ReadHello] tells which
// name a TLS client asks for, and [Inside] classifies what is inside once TLS was terminated. Whoever is turned away on that
// way is counted under the reason of its [Refusal], and logged at most once a second.
//
// [Detect] classifies a connection that did not come through a Server.
//
// # Servers that want a net.Listener
//
// [Mux] is a cmux whose matchers are the same probes ([Protocol.Matcher]). It is fed with connections that were sniffed
// already, so it waits for no client: a silent one can neither stall it nor keep it from stopping.
//
// # Ownership
//
// Handle owns its connection: it, or whoever it gives it to, closes the connection and then calls release, once the
// connection is no longer open; a second call does nothing. Until then the connection counts against ConnectionsMax.
// [Conn.Detach] gives a relay the bytes that were read and the raw connection; the Conn is then no longer read or
// written.
package sniff
