package sniff

// Rules of this file.
//
// A connection on its way from accept to its owner: whose it is (PROXY header), whether it is welcome (Admit), what it
// speaks, what is inside TLS. All of it has one deadline, however slowly the client goes on.
//
// Who is not welcome is sniffed all the same, with less time and at most a quarter of the slots: a libzmq client that is
// closed comes back at once, so its owner may prefer to keep it silent (Otherwise). Where the slots are taken it is closed.

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	refusedWaitMax = time.Second // for a client that is refused to show what it is
	refusingShare  = 4           // one part in so many of SniffingMax is the most that refused ones may take
)

// PlainOnTLS is the reason of a Refusal: a client spoke without TLS where nothing else is accepted.
const PlainOnTLS = "plain_on_tls"

// arrival is an accepted connection on its way to its owner, who may let go of it: what stays until release is the slot.
type arrival struct {
	Conn
	*slot
	raw      net.Conn // as it was accepted; closing it ends all
	accepted time.Time
	asked    bool   // Admit was
	reason   string // of Admit: why not
}

// spare are arrivals that were handed over at once: many connections need but a few of them.
var spare = sync.Pool{New: func() any { return new(arrival) }}

// slot is what a connection takes up until it is released.
type slot struct {
	server   *Server
	leave    func() // of Admit; nil: it admitted nobody
	released atomic.Bool
}

func (s *slot) release() {
	if s.released.CompareAndSwap(false, true) {
		if s.leave != nil {
			s.leave()
		}
		s.server.connections.Release(1)
	}
}

// admit takes over raw with the two slots, and starts to sniff it.
func (s *Server) admit(raw net.Conn) {
	a := spare.Get().(*arrival)
	*a = arrival{Conn: Conn{Conn: raw, listener: s.options.Name}, slot: &slot{server: s}, raw: raw, accepted: time.Now()}
	s.meters.accepted.Inc()
	if done, unused := s.quick(a); done {
		if unused {
			*a = arrival{}
			spare.Put(a)
		}
		return
	}
	s.meters.sniffing.Inc()

	s.mu.Lock()
	s.running.Add(1) // Serve still counts, so Close is waiting or has not begun
	s.arriving.Add(1)
	s.arrivals[a] = struct{}{}
	if s.closed {
		_ = raw.Close() // accepted while Close collected the others
	}
	s.mu.Unlock()

	go s.sniff(a)
}

// quick hands a over at once if nothing about it has to be waited for. unused tells that nobody has kept it.
func (s *Server) quick(a *arrival) (done, unused bool) {
	if s.options.Quick == nil || s.options.TLSOnly || s.options.ProxyFrom(a.raw.RemoteAddr()) {
		return false, false
	}
	if s.ask(a); a.reason != "" || !a.peek(s.options.Protocols) || s.looksInto(a) {
		return false, false
	}
	s.sniffing.Release(1)
	s.meters.matched[a.protocol].Observe(time.Since(a.accepted).Seconds())
	if s.options.Quick(&a.Conn, a.release) {
		return true, true
	}
	s.arriving.Go(func() { s.options.Handle(&a.Conn, a.release) })
	return true, false
}

// looksInto tells whether what a was recognised as is not all that shall be known.
func (s *Server) looksInto(a *arrival) bool { return s.options.TLS != nil && a.protocol == TLS.Name }

// ask asks Admit, once.
func (s *Server) ask(a *arrival) {
	if !a.asked && s.options.Admit != nil {
		a.leave, a.reason = s.options.Admit(a.RemoteAddr())
	}
	a.asked = true
}

// sniff classifies a and hands it over.
func (s *Server) sniff(a *arrival) {
	defer s.arriving.Done()
	c, result, why := s.recognise(a)

	s.mu.Lock()
	delete(s.arrivals, a)
	if s.closed {
		result = Stopped
	}
	s.mu.Unlock()

	s.sniffing.Release(1)
	s.meters.sniffing.Dec()
	observer := s.meters.failed[result]
	if result == Matched {
		observer = s.meters.matched[c.protocol]
	}
	observer.Observe(time.Since(a.accepted).Seconds())

	if result == Matched {
		s.running.Done()
		s.options.Handle(c, a.release)
		return
	}
	defer s.running.Done()
	if result == Refused {
		s.refuse(c, why)
	}
	if result != Stopped && s.options.Otherwise(c, result, why, a.release) {
		return
	}
	if result != Stopped && result != Refused {
		s.report.unmatched(c, result)
	}
	_ = a.raw.Close()
	a.release()
}

// recognise finds out what a is. The connection that it returns is a's, or one that Options.TLS has put in its place.
func (s *Server) recognise(a *arrival) (c *Conn, result Result, why error) {
	deadline := a.accepted.Add(s.options.Timeout)
	if err := a.raw.SetReadDeadline(deadline); err != nil {
		return &a.Conn, Closed, nil // without a deadline nobody may wait for the peer
	}
	// Whoever gets the connection next must not inherit the deadline. An error means that it is closed: they will see.
	defer func() { _ = a.raw.SetReadDeadline(time.Time{}) }()

	if s.options.ProxyFrom(a.raw.RemoteAddr()) {
		client, seen, err := readProxyHeader(a.raw)
		if err != nil {
			a.read = uint8(copy(a.prefix[:], seen)) // it may show what came instead
			a.protocol, _ = Classify(s.options.Protocols, a.Prefix())
			return &a.Conn, resultOf(err), err
		}
		a.Conn.Conn = client
	}
	if s.ask(a); a.reason != "" {
		s.options.Report() // others of its source may have ended
		a.asked = false
		s.ask(a)
	}
	if a.reason != "" {
		return &a.Conn, Refused, s.unwelcome(a, a.reason)
	}
	result = a.classify(s.options.Protocols)
	switch {
	case result == Unmatched && isProxyHeader(a.Prefix()):
		return &a.Conn, Refused, &Refusal{ProxyUntrusted, errors.New("a PROXY header is accepted from trusted proxies alone")}
	case result == Matched && s.options.TLSOnly && a.protocol != TLS.Name:
		return &a.Conn, Refused, &Refusal{PlainOnTLS, errors.New("this listener speaks TLS; plain clients need one of their own")}
	case result != Matched || !s.looksInto(a):
		return &a.Conn, result, nil
	}
	c, result, why = s.options.TLS(&a.Conn, deadline)
	if why != nil {
		return &a.Conn, resultOf(why), why
	}
	c.listener = a.listener
	return c, result, nil
}

// unwelcome lets a client that is refused show what it is, if there is room for that.
func (s *Server) unwelcome(a *arrival, reason string) error {
	if s.refusing.TryAcquire(1) {
		defer s.refusing.Release(1)
		if a.raw.SetReadDeadline(time.Now().Add(min(refusedWaitMax, s.options.Timeout))) == nil {
			a.classify(s.options.Protocols)
		}
	}
	return &Refusal{Reason: reason}
}

// refuse counts and logs a refusal.
func (s *Server) refuse(c *Conn, why error) {
	reason := "other"
	var refusal *Refusal
	if errors.As(why, &refusal) {
		reason = refusal.Reason
	}
	s.meters.refused.WithLabelValues(reason).Inc()
	s.report.refused(c, reason, why)
}
