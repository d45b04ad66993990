// Package bare keeps sockets as bare descriptors for those who only pass them on.
//
// A net.Conn costs a connection that lives for milliseconds more than its bytes do: registering it with Go's poller and taking
// it off again, half a dozen socket options, and a goroutine to wake for each step. A [Conn] is a descriptor and two addresses.
// Who relays takes the descriptor ([Conn.Take]) and is done; for everybody else it is a net.Conn, which becomes an ordinary one
// the first time that it is used as one.
//
// Linux only; elsewhere nothing here is called, and connections are ordinary ones from the start.
package bare
