package zmtp

// Null is the mechanism without authentication and encryption.
type Null struct{}

// Mechanism returns MechanismNull.
func (Null) Mechanism() Mechanism { return MechanismNull }

func (Null) newHandshake(l local) handshake { return &nullHandshake{local: l} }

// nullHandshake: who connects sends READY at once; who accepts waits for the peer's, so that it can still answer ERROR
// instead (RFC 37: "the client SHALL send a READY command and then wait"). RFC 23 has both send at once, which fits.
type nullHandshake struct {
	local
	peer Metadata
}

func (h *nullHandshake) start(out []byte) []byte {
	if h.accepts {
		return out
	}
	return AppendCommand(out, nameReady, h.metadata.Append(nil))
}

func (h *nullHandshake) receive(out, body []byte) ([]byte, bool, error) {
	data, err := expectCommand(body, nameReady)
	if err != nil {
		return out, false, err
	}
	if h.peer, err = h.acceptMetadata(data); err != nil {
		if h.accepts {
			out = refuse(out, err)
		}
		return out, false, err
	}
	if h.accepts {
		out = AppendCommand(out, nameReady, h.metadata.Append(nil))
	}
	return out, true, nil
}

func (h *nullHandshake) result() (Peer, *sealer, *opener) {
	return Peer{Mechanism: MechanismNull, Metadata: h.peer}, nil, nil
}
