package zmtp

import (
	"errors"
	"os"
	"time"
)

// This file is what a connection does besides messages: commands, and the heartbeat.

// handleCommand does what a command asks. Commands may stand between the frames of a message: libzmq sends its PINGs
// when their time has come. last says that m now holds a subscription.
func (c *Conn) handleCommand(m *Message, body []byte) (last bool, err error) {
	name, data, err := ParseCommand(body)
	if err != nil {
		return false, err
	}
	if s, ok := ParseSubscriptionCommand(name, data); ok {
		if !c.options.SocketType.publishes() || m.parts > 0 {
			return false, malformed(ReasonCommand, "%s to a %s, or within a message", name, c.options.SocketType)
		}
		m.Append(s.Topic)
		m.kind = subscriptionKind(s)
		return true, nil
	}
	now := time.Now()
	if c.rate.add(now) {
		return false, malformed(ReasonFlood, "more than %d commands within a second", commandsPerSecondMax)
	}
	switch string(name) {
	case namePing:
		return false, c.handlePing(now, data)
	case nameReady, nameHello, nameWelcome, nameInitiate:
		return false, malformed(ReasonCommand, "%s after the handshake", name)
	case nameError:
		// A peer that turns us away after it had our READY says so here.
		refusal, err := ParseError(data)
		if err != nil {
			return false, err
		}
		return false, refusal
	}
	return false, nil // PONG has been heard, which is all it is for; commands of later versions are not for us
}

func (c *Conn) handlePing(now time.Time, data []byte) error {
	p, err := ParsePing(data)
	if err != nil {
		return err
	}
	if p.TTL != c.beat.peerTTL {
		c.beat.peerTTL = p.TTL
		c.beating = c.beating || p.TTL > 0
		c.beat.hear(now)
		if err := c.beatNow(now); err != nil {
			return err
		}
	}
	if w := c.out.beginControl(); w != nil {
		c.scratch = appendPongBody(c.scratch[:0], p.Context)
		w.b = c.appendFrame(w.b, FlagCommand, c.scratch)
		if c.out.commit() {
			c.out.write()
		}
	}
	return nil
}

// source is the network as the reader sees it. It keeps the heartbeat: a read deadline that passes is a question to it.
type source Conn

func (s *source) Read(p []byte) (int, error) {
	c := (*Conn)(s)
	for {
		n, err := c.nc.Read(p)
		if n > 0 {
			if c.beating {
				s.hear()
			}
			return n, nil
		}
		if err == nil || !c.beating || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if err := c.beatNow(time.Now()); err != nil {
			return 0, err
		}
	}
}

// hear notes that something came. After an answer to a PING the next one is due sooner than the answer was.
func (s *source) hear() {
	c, now := (*Conn)(s), time.Now()
	answered := c.beat.waiting
	c.beat.hear(now)
	if answered {
		_ = c.beatNow(now) // a connection that is closed is found so by the next Read
	}
}

// beatNow does what the heartbeat finds due and sets the time of the next question.
func (c *Conn) beatNow(now time.Time) error {
	ping, again, dead := c.beat.due(now)
	if dead != nil {
		return dead
	}
	if ping {
		if w := c.out.beginControl(); w != nil {
			c.scratch = appendPingBody(c.scratch[:0], Ping{TTL: c.beat.TTL})
			w.b = c.appendFrame(w.b, FlagCommand, c.scratch)
			if c.out.commit() {
				c.out.write()
			}
		}
	}
	var next time.Time
	if again > 0 {
		next = now.Add(again)
	}
	return c.nc.SetReadDeadline(next)
}
