package zmtp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// steadyAfter is how long a connection must have lived for the next attempt to come at once, and for calls to wait for
// it. A peer that lets everybody in and ends each connection at once is treated as one that is not there.
const steadyAfter = time.Second

// endpoint is a place that a socket keeps connected to.
type endpoint struct {
	text, network, address string
	hopeful                bool // counted in Socket.hopeful, whose mu guards it
}

// ParseEndpoint reads "tcp://host:port", "ipc:///path" or "unix:///path" into what net.Dial and net.Listen take.
func ParseEndpoint(text string) (network, address string, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || rest == "" {
		return "", "", fmt.Errorf("zmtp: %q is no endpoint, such as \"tcp://127.0.0.1:5555\" or \"ipc:///run/x.sock\"", text)
	}
	switch scheme {
	case "tcp":
		return "tcp", rest, nil
	case "ipc", "unix":
		return "unix", rest, nil
	}
	return "", "", fmt.Errorf("zmtp: endpoint %q: there is no transport %q, only tcp, ipc and unix", text, scheme)
}

// Connect keeps the socket connected to an endpoint, in the background: it dials, resolving the name each time, and
// dials again when the peer has gone, with growing pauses while that fails.
func (s *Socket) Connect(text string) error {
	network, address, err := ParseEndpoint(text)
	if err != nil {
		return err
	}
	e := &endpoint{text: text, network: network, address: address}
	s.mu.Lock()
	s.hope(e)
	s.mu.Unlock()
	if !s.start(func() { s.keepConnected(e) }) {
		return ErrClosed
	}
	return nil
}

func (s *Socket) keepConnected(e *endpoint) {
	var pause time.Duration
	for {
		c, err := s.dial(e)
		if err == nil {
			l := newLink(s, c, e)
			_ = s.attach(l, s.options.Receive) // Changed was told
			if l.promising() {
				pause = 0
				continue
			}
		} else if failed := s.options.ConnectFailed; failed != nil && s.lifetime.Err() == nil {
			failed(e.text, err)
		}
		s.mu.Lock()
		s.despair(e)
		s.mu.Unlock()
		pause = min(max(2*pause, s.options.ReconnectMin), s.options.ReconnectMax)
		// By a fifth to either side, so that many gateways do not come at once.
		if !s.pause(pause - pause/5 + rand.N(2*pause/5+1)) {
			return
		}
	}
}

// dial connects and does the handshake, each within HandshakeTimeout.
func (s *Socket) dial(e *endpoint) (*Conn, error) {
	ctx, cancel := context.WithTimeout(s.lifetime, 2*s.options.HandshakeTimeout)
	defer cancel()
	return Dial(ctx, e.network, e.address, s.options.Options)
}

// hope notes that e may be connected soon, so that Offer waits for it. s.mu is held.
func (s *Socket) hope(e *endpoint) {
	if !e.hopeful {
		e.hopeful = true
		s.hopeful++
	}
}

// despair notes that e is connected, or will not be soon. s.mu is held.
func (s *Socket) despair(e *endpoint) {
	if e.hopeful {
		e.hopeful = false
		s.hopeful--
		s.wake()
	}
}
