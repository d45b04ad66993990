package gateway

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"gateway/sniff"
)

// Listener is what an exposed port does with its connections before the table chooses for them.
type Listener struct {
	Name       string
	Sources    []netip.Prefix // networks whose clients are welcome; empty: all
	Proxies    []netip.Prefix // networks whose connections begin with a PROXY header, which says whose they are
	AllProxies bool           // all connections begin so: those of a unix socket
	TLS        *Termination   // ends TLS, but for relays that ask for a name, and nothing else is accepted; nil: it is a protocol like others
}

// Attach completes the options of the port that sniffs for l: what it lets through comes to s.
func (s *Server) Attach(l Listener, o sniff.Options) sniff.Options {
	o.Name = l.Name
	o.Handle = func(c *sniff.Conn, release func()) { s.Handle(l, c, release) }
	o.Quick = func(c *sniff.Conn, release func()) bool { return s.Quick(l, c, release) }
	o.TLS = func(c *sniff.Conn, deadline time.Time) (*sniff.Conn, sniff.Result, error) {
		return s.lookInto(l, c, deadline)
	}
	o.TLSOnly = l.TLS != nil
	o.ProxyFrom = func(peer net.Addr) bool { return l.AllProxies || contains(l.Proxies, sourceOf(peer)) }
	o.Admit = func(client net.Addr) (leave func(), refused string) { return s.admit(l, sourceOf(client)) }
	o.Otherwise = s.otherwise
	return o
}

// lookInto finds out which name a TLS client asks for, if a block depends on it, and ends TLS where no block takes it as it is.
func (s *Server) lookInto(l Listener, c *sniff.Conn, deadline time.Time) (*sniff.Conn, sniff.Result, error) {
	table, facts := s.table.Load(), l.facts(c)
	choice, more, next := table.Choose(&facts, 0)
	if more == NeedsServerName {
		var err error
		if c, err = c.ReadHello(); err != nil {
			return nil, sniff.Refused, err
		}
		facts = l.facts(c)
		choice, _, _ = table.Choose(&facts, next)
	}
	if l.TLS != nil && choice.Block == nil {
		return l.TLS.terminate(c, deadline, len(table.HTTP) > 0)
	}
	return c, sniff.Matched, nil
}

// facts are what is known of a connection without asking its client.
func (l *Listener) facts(c *sniff.Conn) Facts {
	f := Facts{Protocol: c.Protocol(), Listener: l.Name, Source: sourceOf(c.RemoteAddr())}
	f.ServerName, f.NameKnown = c.ServerName()
	f.Terminated = l.TLS != nil && f.Protocol == sniff.TLS.Name
	return f
}

// admit tells whether a client is welcome.
func (s *Server) admit(l Listener, a netip.Addr) (leave func(), refused string) {
	if len(l.Sources) > 0 && !contains(l.Sources, a) {
		return nil, RefusedSource
	}
	return s.sources.admit(a)
}

// otherwise takes those who were refused and are better not just closed.
func (s *Server) otherwise(c *sniff.Conn, result sniff.Result, why error, release func()) bool {
	end := func() {
		c.Close()
		release()
	}
	var refusal *sniff.Refusal
	switch {
	case result != sniff.Refused || !errors.As(why, &refusal):
		return false
	case c.Protocol() == sniff.ZMTP.Name: // libzmq would come back ten times a second
		s.Hold(c, end)
		return true
	case c.Protocol() == sniff.HTTP1.Name && refusal.Reason == sniff.PlainOnTLS:
		go answerPlain(c, end)
		return true
	}
	return false
}

const (
	plainAnswerWait = time.Second // for a browser that forgot the s of https to read why it gets nothing
	plainAnswer     = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
		"This port speaks TLS. Write https:// instead of http://.\n"
)

// answerPlain tells an HTTP client what is wrong. Its request is read to the end, for closing before would reset the
// connection, and take the answer with it.
func answerPlain(c *sniff.Conn, end func()) {
	defer end()
	if c.SetDeadline(time.Now().Add(plainAnswerWait)) != nil {
		return
	}
	if _, err := io.WriteString(c, plainAnswer); err == nil && c.CloseWrite() == nil {
		io.Copy(io.Discard, c)
	}
}

// contains reports whether an address is in one of the networks. One that is not known is in none.
func contains(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
