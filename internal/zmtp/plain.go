package zmtp

import "bytes"

// PlainClient comes with a name and a password, which everyone on the way can read. Each is cut at 255 bytes.
type PlainClient struct {
	User, Password string
}

// PlainServer lets in who gives a name and a password that Authenticate knows.
type PlainServer struct {
	// Authenticate returns an error to refuse a client; the error goes to this side's log, the client learns only "400".
	// It should compare in constant time. nil refuses everyone.
	Authenticate func(user, password string) error
}

const plainFieldBytesMax = 255

// misspeltError is how libzmq 4.3.4 starts a PLAIN server's ERROR: its source says "\x5ERROR", where C reads the hex digit
// E as part of the size byte.
const misspeltError = "\x5eRROR"

// Mechanism returns MechanismPlain.
func (PlainClient) Mechanism() Mechanism { return MechanismPlain }

// Mechanism returns MechanismPlain.
func (PlainServer) Mechanism() Mechanism { return MechanismPlain }

func (s PlainClient) newHandshake(l local) handshake {
	return &plainClient{local: l, user: s.User, password: s.Password}
}

func (s PlainServer) newHandshake(l local) handshake {
	return &plainServer{local: l, authenticate: s.Authenticate}
}

type plainClient struct {
	local
	user, password string
	welcomed       bool
	peer           Metadata
}

func (h *plainClient) start(out []byte) []byte {
	user := h.user[:min(len(h.user), plainFieldBytesMax)]
	password := h.password[:min(len(h.password), plainFieldBytesMax)]
	out = AppendFrameHeader(out, FlagCommand, 1+len(nameHello)+1+len(user)+1+len(password))
	out = append(append(appendCommandName(out, nameHello), byte(len(user))), user...)
	return append(append(out, byte(len(password))), password...)
}

func (h *plainClient) receive(out, body []byte) ([]byte, bool, error) {
	if bytes.HasPrefix(body, []byte(misspeltError)) {
		body = append([]byte("\x05ERROR"), body[len(misspeltError):]...)
	}
	if !h.welcomed {
		data, err := expectCommand(body, nameWelcome)
		if err != nil {
			return out, false, err
		}
		if len(data) > 0 {
			return out, false, malformed(ReasonCommand, "a PLAIN WELCOME with %d bytes of data", len(data))
		}
		h.welcomed = true
		return AppendCommand(out, nameInitiate, h.metadata.Append(nil)), false, nil
	}
	data, err := expectCommand(body, nameReady)
	if err != nil {
		return out, false, err
	}
	h.peer, err = h.acceptMetadata(data)
	return out, err == nil, err
}

func (h *plainClient) result() (Peer, *sealer, *opener) {
	return Peer{Mechanism: MechanismPlain, Metadata: h.peer}, nil, nil
}

type plainServer struct {
	local
	authenticate func(user, password string) error
	welcomed     bool
	user         string
	peer         Metadata
}

func (h *plainServer) start(out []byte) []byte { return out }

func (h *plainServer) receive(out, body []byte) ([]byte, bool, error) {
	if !h.welcomed {
		data, err := expectCommand(body, nameHello)
		if err != nil {
			return out, false, err
		}
		if err := h.hello(data); err != nil {
			return refuse(out, err), false, err
		}
		h.welcomed = true
		return AppendCommand(out, nameWelcome, nil), false, nil
	}
	data, err := expectCommand(body, nameInitiate)
	if err != nil {
		return out, false, err
	}
	if h.peer, err = h.acceptMetadata(data); err != nil {
		return refuse(out, err), false, err
	}
	return AppendCommand(out, nameReady, h.metadata.Append(nil)), true, nil
}

func (h *plainServer) hello(data []byte) error {
	user, rest, ok := cutSized(data)
	password, rest, ok2 := cutSized(rest)
	if !ok || !ok2 || len(rest) > 0 {
		return malformed(ReasonCommand, "a PLAIN HELLO of %d bytes that is not a name and a password", len(data))
	}
	h.user = string(user)
	if h.authenticate == nil {
		return malformed(ReasonRefused, "no PLAIN user is known here")
	}
	if err := h.authenticate(h.user, string(password)); err != nil {
		return malformed(ReasonRefused, "PLAIN user %.*q: %w", nameShownMax, h.user, err)
	}
	return nil
}

func (h *plainServer) result() (Peer, *sealer, *opener) {
	return Peer{Mechanism: MechanismPlain, Metadata: h.peer, User: h.user}, nil, nil
}

// cutSized takes a field that starts with its size in one byte.
func cutSized(b []byte) (field, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+b[0]], b[1+b[0]:], true
}
