// Package peers holds the programs that talk through the gateway in the demo: a ZeroMQ PUSH client (Push), a
// ZeroMQ PULL server (Pull), a gRPC client (Call), a gRPC server (Serve), and a ZeroMQ client and worker under CURVE (Ask and
// Vault) that both connect to the gateway. The programs below this folder are a flag set around one of the first four;
// `gateway demo` runs all of them in its own process.
//
// # What each promises
//
// A peer runs until its context ends or its work is done, then returns nil; it leaves no goroutine and no connection.
// Everything that happens is told to the Report function: the programs print it, the demo counts it, and so knows
// whether everything that was sent arrived.
//
// A client numbers its messages 1, 2, 3. It tells Sent just before the message leaves, so that no receiver is
// heard of it first, and it returns nil only if every message that it told of is through: Call has its answers, Push
// saw the far side close the connection after its own half-close, which a PULL socket does once it has read everything.
//
// Clients may start before their server, and outlive its restart: they look for it as long as Client.Wait says. Then
// they fail with an error that says where and why.
//
// # The ZeroMQ side
//
// It is go-zeromq/zmq4, one zmq4.Conn for each connection and without the library's Socket on top. A Socket hides what
// a peer that counts must know: a PUSH Socket that lost its only connection drops messages and reports success, a
// PULL Socket shakes hands with one peer at a time, for as long as that takes, and neither ends without leaving goroutines.
// A message has three frames: who sent it, its number, the text. Pull shows messages of any other shape too.
//
// That library trusts its peer: a frame that claims to be huge ends the process. Pull therefore belongs on loopback,
// behind the gateway, where only the demo's own programs reach it.
package peers
