package zmtp

import (
	"encoding/binary"

	"golang.org/x/crypto/nacl/box"
)

// CurveClient is the client's part of CURVE: it knows the server's public key.
type CurveClient struct {
	Server PublicKey // the server's long-term key
	// Pair is this side's long-term key, by which a server may know it. Zero = a new one for each connection.
	Pair KeyPair
}

// Mechanism returns MechanismCurve.
func (CurveClient) Mechanism() Mechanism { return MechanismCurve }

func (s CurveClient) newHandshake(l local) handshake {
	return &curveClient{local: l, server: s.Server, pair: s.Pair}
}

// curveClient: C and c are the client's long-term pair, C' and c' its short-term pair, S and S' the server's keys.
type curveClient struct {
	local
	server    PublicKey // S
	pair      KeyPair   // C, c
	transient KeyPair   // C', c'
	failed    error     // what start could not say: it has no error to return
	welcomed  bool
	shared    [KeyBytes]byte // S' with c'
	sent      uint64         // the last short nonce that was used
	received  uint64         // the last short nonce that came
	peer      Metadata
}

func (h *curveClient) start(out []byte) []byte {
	var toServer [KeyBytes]byte
	if h.transient, h.failed = GenerateKeyPair(); h.failed != nil {
		return out
	}
	if h.pair == (KeyPair{}) {
		if h.pair, h.failed = GenerateKeyPair(); h.failed != nil {
			return out
		}
	}
	if toServer, h.failed = sharedKey(&h.server, &h.transient.Secret); h.failed != nil {
		return out
	}
	h.sent++
	return appendHello(AppendFrameHeader(out, FlagCommand, helloBytes), h.sent, h.transient, &toServer)
}

func (h *curveClient) receive(out, body []byte) ([]byte, bool, error) {
	if h.failed != nil {
		return out, false, h.failed
	}
	if h.welcomed {
		err := h.ready(body)
		return out, err == nil, err
	}
	cookie, toServer, err := h.welcome(body)
	if err != nil {
		return out, false, err
	}
	h.welcomed = true
	return h.initiate(out, cookie, toServer), false, nil
}

// welcome opens Box [S' + cookie](S->C') and returns the cookie and the key between S' and c, which the vouch needs.
func (h *curveClient) welcome(body []byte) (cookie []byte, vouchKey [KeyBytes]byte, err error) {
	data, err := expectCommand(body, nameWelcome)
	if err != nil {
		return nil, vouchKey, err
	}
	if len(body) != welcomeBytes {
		return nil, vouchKey, malformed(ReasonCommand, "a WELCOME of %d bytes, want %d", len(body), welcomeBytes)
	}
	n := longNonce(prefixWelcome, data[:longNonceBytes])
	server, client := [KeyBytes]byte(h.server), [KeyBytes]byte(h.transient.Secret)
	plain, ok := box.Open(nil, data[longNonceBytes:], &n, &server, &client)
	if !ok {
		return nil, vouchKey, malformed(ReasonBox, "WELCOME does not open: the server does not hold the key %s", h.server)
	}
	serverTransient := PublicKey(plain[:KeyBytes])
	if h.shared, err = sharedKey(&serverTransient, &h.transient.Secret); err != nil {
		return nil, vouchKey, malformed(ReasonBox, "WELCOME: %v", err)
	}
	if vouchKey, err = sharedKey(&serverTransient, &h.pair.Secret); err != nil {
		return nil, vouchKey, malformed(ReasonBox, "WELCOME: %v", err)
	}
	return plain[KeyBytes:], vouchKey, nil
}

// initiate appends INITIATE: the cookie, then Box [C + vouch + metadata](C'->S'), where the vouch is
// Box [C' + S](C->S').
func (h *curveClient) initiate(out, cookie []byte, vouchKey [KeyBytes]byte) []byte {
	vouchNonce := randomLongNonce(prefixVouch)
	plain := append([]byte(nil), h.pair.Public[:]...)
	plain = append(plain, vouchNonce[8:]...)
	vouched := append(append([]byte(nil), h.transient.Public[:]...), h.server[:]...)
	plain = box.SealAfterPrecomputation(plain, vouched, &vouchNonce, &vouchKey)
	plain = h.metadata.Append(plain)

	h.sent++
	n := shortNonce(prefixInitiate, h.sent)
	out = AppendFrameHeader(out, FlagCommand, 1+len(nameInitiate)+cookieBytes+shortNonceBytes+len(plain)+box.Overhead)
	out = append(appendCommandName(out, nameInitiate), cookie...)
	out = binary.BigEndian.AppendUint64(out, h.sent)
	out = box.SealAfterPrecomputation(out, plain, &n, &h.shared)
	clear(h.transient.Secret[:]) // the shared key is all that the connection still needs
	return out
}

// ready opens Box [metadata](S'->C').
func (h *curveClient) ready(body []byte) error {
	data, err := expectCommand(body, nameReady)
	if err != nil {
		return err
	}
	if len(body) < readyBytesMin {
		return malformed(ReasonCommand, "a READY of %d bytes, want at least %d", len(body), readyBytesMin)
	}
	h.received = binary.BigEndian.Uint64(data)
	n := shortNonce(prefixReady, h.received)
	plain, ok := box.OpenAfterPrecomputation(nil, data[shortNonceBytes:], &n, &h.shared)
	if !ok {
		return malformed(ReasonBox, "READY does not open")
	}
	h.peer, err = h.acceptMetadata(plain)
	return err
}

func (h *curveClient) result() (Peer, *sealer, *opener) {
	return Peer{Mechanism: MechanismCurve, Metadata: h.peer, Key: h.server},
		&sealer{shared: h.shared, prefix: prefixMessageClient, last: h.sent},
		&opener{shared: h.shared, prefix: prefixMessageServer, last: h.received}
}
