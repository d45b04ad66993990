package zmtp

// A handshake is one side of a security mechanism as a state machine: the bodies of the peer's commands in, whole
// command frames out. It does no I/O and keeps no byte that it was given.
//
//	NULL    both:   READY                                       (RFC 37)
//	PLAIN   client: HELLO            INITIATE                   (RFC 24)
//	        server:         WELCOME            READY
//	CURVE   client: HELLO            INITIATE                   (RFC 26)
//	        server:         WELCOME            READY
//
// Any other command than the one that is due ends the connection. A server that turns a client away for who it is says
// so with ERROR; what is malformed or forged gets no answer.
type handshake interface {
	// start appends what this side says unprompted, perhaps nothing.
	start(out []byte) []byte
	// receive takes the body of the peer's next command and appends the answer to out. done says that the handshake is
	// complete on this side. With an error, out may hold an ERROR command that is to be sent before the connection is
	// closed.
	receive(out, body []byte) (answer []byte, done bool, err error)
	// result is what was learnt; it may be called once done was returned.
	result() (Peer, *sealer, *opener)
}

// local is what a handshake needs to know of this side.
type local struct {
	metadata Metadata
	check    func(peer Metadata) error // whether the peer's metadata fits this side's socket type
	accepts  bool                      // the connection was accepted, not dialled
}

// Security says how a connection is secured and which part this side plays in it: Null, PlainServer, PlainClient,
// CurveServer or CurveClient. Who binds and who connects does not matter to PLAIN and CURVE.
type Security interface {
	Mechanism() Mechanism
	newHandshake(l local) handshake
}

// Peer is what a connection knows of the other side after the handshake.
type Peer struct {
	Minor     byte      // of the ZMTP version that it announced: subscriptions are written as this one asks
	Mechanism Mechanism // of both sides
	Metadata  Metadata
	User      string    // PLAIN: the name with which the client came; empty on the client's side
	Key       PublicKey // CURVE: the peer's long-term key; zero otherwise
}

// SocketType is the type of the peer's socket.
func (p Peer) SocketType() SocketType { return p.Metadata.SocketType() }

// Identity is the peer's routing id; empty when it has none.
func (p Peer) Identity() []byte { return p.Metadata.Identity() }

const (
	// statusRefused is what the ERROR says to who is not let in: the status of a ZAP handler (RFC 27), which libzmq sends
	// too and turns into the monitor event ZMQ_EVENT_HANDSHAKE_FAILED_AUTH.
	statusRefused = "400"
	// nameShownMax bounds how much of a stranger's bytes an error repeats.
	nameShownMax = 16
)

// expectCommand splits a command and refuses any but the one that is due. ERROR from the peer becomes a PeerError.
func expectCommand(body []byte, want string) (data []byte, err error) {
	name, data, err := ParseCommand(body)
	if err != nil {
		return nil, err
	}
	switch string(name) {
	case want:
		return data, nil
	case nameError:
		refusal, err := ParseError(data)
		if err != nil {
			return nil, err
		}
		return nil, refusal
	}
	return nil, malformed(ReasonCommand, "command %.*q where %s is due", nameShownMax, name, want)
}

// acceptMetadata reads the peer's metadata and checks that the sockets fit. The result is a copy.
func (l local) acceptMetadata(data []byte) (Metadata, error) {
	m, err := ParseMetadata(append([]byte(nil), data...))
	if err != nil {
		return nil, err
	}
	return m, l.check(m)
}

// refuse appends the ERROR that tells the peer why it is turned away, if err is of the kind that it may know.
func refuse(out []byte, err error) []byte {
	p, ok := err.(*ProtocolError)
	switch {
	case ok && p.Reason == ReasonRefused:
		return AppendError(out, statusRefused)
	case ok && p.Reason == ReasonSocketType:
		return AppendError(out, p.Detail)
	}
	return out
}
