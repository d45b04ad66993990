package zmtp

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/nacl/secretbox"
)

// CurveServer is the server's part of CURVE: it holds the secret key whose public half clients know.
type CurveServer struct {
	Secret SecretKey
	// Authenticate returns an error to refuse a client by its long-term key; the error goes to this side's log, the client
	// learns only "400". nil = every client that knows the server's public key.
	Authenticate func(client PublicKey) error
}

// Mechanism returns MechanismCurve.
func (CurveServer) Mechanism() Mechanism { return MechanismCurve }

func (s CurveServer) newHandshake(l local) handshake {
	return &curveServer{local: l, secret: s.Secret, authenticate: s.Authenticate}
}

// curveServer keeps nothing but the cookie's key between WELCOME and INITIATE: the short-term keys travel in the cookie.
// Each connection has a cookie key of its own, so that another connection's cookie does not open here.
type curveServer struct {
	local
	secret       SecretKey // s
	authenticate func(PublicKey) error
	welcomed     bool
	cookieKey    [KeyBytes]byte
	received     uint64 // the last short nonce that came
	shared       [KeyBytes]byte
	client       PublicKey // C
	peer         Metadata
}

// readyCounter is the short nonce of READY, the first that the server uses in a connection.
const readyCounter = 1

func (h *curveServer) start(out []byte) []byte { return out }

func (h *curveServer) receive(out, body []byte) ([]byte, bool, error) {
	if !h.welcomed {
		hello, err := parseHello(body)
		if err != nil {
			return out, false, err
		}
		toClient, ok := hello.open(&h.secret)
		if !ok {
			return out, false, malformed(ReasonBox, "HELLO does not open: the client expects another server key than %s", h.secret.Public())
		}
		out, err = h.welcome(out, hello, &toClient)
		h.welcomed = err == nil
		return out, false, err
	}
	if err := h.initiate(body); err != nil {
		return refuse(out, err), false, err
	}
	return h.ready(out), true, nil
}

// welcome appends Box [S' + cookie](S->C'), where the cookie is Box [C' + s'](K) under a key K of this connection alone.
func (h *curveServer) welcome(out []byte, hello Hello, toClient *[KeyBytes]byte) ([]byte, error) {
	transient, err := GenerateKeyPair()
	if err != nil {
		return out, err
	}
	h.received = hello.nonce
	_, _ = rand.Read(h.cookieKey[:]) // never fails
	cookieNonce := randomLongNonce(prefixCookie)
	secrets := append(append(make([]byte, 0, 2*KeyBytes), hello.client[:]...), transient.Secret[:]...)
	plain := append(make([]byte, 0, KeyBytes+cookieBytes), transient.Public[:]...)
	plain = append(plain, cookieNonce[8:]...)
	plain = secretbox.Seal(plain, secrets, &cookieNonce, &h.cookieKey)
	clear(secrets)
	clear(transient.Secret[:])

	n := randomLongNonce(prefixWelcome)
	out = appendCommandName(AppendFrameHeader(out, FlagCommand, welcomeBytes), nameWelcome)
	out = append(out, n[8:]...)
	return box.SealAfterPrecomputation(out, plain, &n, toClient), nil
}

// initiate checks the cookie, the nonce, the box and the vouch, in this order, then who the client is.
func (h *curveServer) initiate(body []byte) error {
	data, err := expectCommand(body, nameInitiate)
	if err != nil {
		return err
	}
	if len(body) < initiateBytesMin {
		return malformed(ReasonCommand, "an INITIATE of %d bytes, want at least %d", len(body), initiateBytesMin)
	}
	cookie, data := data[:cookieBytes], data[cookieBytes:]
	clientTransient, serverTransient, err := h.openCookie(cookie)
	if err != nil {
		return err
	}
	defer clear(serverTransient[:])
	counter := binary.BigEndian.Uint64(data)
	if counter <= h.received {
		return malformed(ReasonNonce, "INITIATE has nonce %d after %d", counter, h.received)
	}
	h.received = counter
	if h.shared, err = sharedKey(&clientTransient, &serverTransient); err != nil {
		return malformed(ReasonBox, "INITIATE: %v", err)
	}
	n := shortNonce(prefixInitiate, counter)
	plain, ok := box.OpenAfterPrecomputation(nil, data[shortNonceBytes:], &n, &h.shared)
	if !ok {
		return malformed(ReasonBox, "INITIATE does not open")
	}
	h.client = PublicKey(plain[:KeyBytes])
	if err := h.checkVouch(plain[KeyBytes:], clientTransient, &serverTransient); err != nil {
		return err
	}
	if h.authenticate != nil {
		if err := h.authenticate(h.client); err != nil {
			return malformed(ReasonRefused, "CURVE client %s: %w", h.client, err)
		}
	}
	h.peer, err = h.acceptMetadata(plain[KeyBytes+cookieBytes:])
	return err
}

// openCookie gives the short-term keys back and forgets the cookie's key: a second INITIATE cannot open anything.
func (h *curveServer) openCookie(cookie []byte) (client PublicKey, server SecretKey, err error) {
	n := longNonce(prefixCookie, cookie[:longNonceBytes])
	secrets, ok := secretbox.Open(nil, cookie[longNonceBytes:], &n, &h.cookieKey)
	clear(h.cookieKey[:])
	if !ok {
		return client, server, malformed(ReasonCookie, "INITIATE's cookie is not the one of this connection")
	}
	client, server = PublicKey(secrets[:KeyBytes]), SecretKey(secrets[KeyBytes:])
	clear(secrets)
	return client, server, nil
}

// checkVouch opens Box [C' + S](C->S'), which only the holder of the client's long-term secret key can have made, for
// this connection and this server.
func (h *curveServer) checkVouch(vouch []byte, clientTransient PublicKey, serverTransient *SecretKey) error {
	shared, err := sharedKey(&h.client, serverTransient)
	if err != nil {
		return malformed(ReasonVouch, "INITIATE's vouch: %v", err)
	}
	n := longNonce(prefixVouch, vouch[:longNonceBytes])
	plain, ok := box.OpenAfterPrecomputation(nil, vouch[longNonceBytes:cookieBytes], &n, &shared)
	if !ok {
		return malformed(ReasonVouch, "INITIATE's vouch does not open: the client does not hold the key %s", h.client)
	}
	// Both comparisons run, each in constant time.
	same, forUs := clientTransient.Equal(PublicKey(plain[:KeyBytes])), h.secret.Public().Equal(PublicKey(plain[KeyBytes:]))
	if !same || !forUs {
		return malformed(ReasonVouch, "INITIATE's vouch was made for another connection or server")
	}
	return nil
}

// ready appends Box [metadata](S'->C').
func (h *curveServer) ready(out []byte) []byte {
	plain := h.metadata.Append(nil)
	n := shortNonce(prefixReady, readyCounter)
	out = AppendFrameHeader(out, FlagCommand, readyBytesMin+len(plain))
	out = binary.BigEndian.AppendUint64(appendCommandName(out, nameReady), readyCounter)
	return box.SealAfterPrecomputation(out, plain, &n, &h.shared)
}

func (h *curveServer) result() (Peer, *sealer, *opener) {
	return Peer{Mechanism: MechanismCurve, Metadata: h.peer, Key: h.client},
		&sealer{shared: h.shared, prefix: prefixMessageServer, last: readyCounter},
		&opener{shared: h.shared, prefix: prefixMessageClient, last: h.received}
}
