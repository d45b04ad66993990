package grpcproxy

// What a peer may do that costs us more than it, or that carries no call forward, and how much of it.
//
//   - Streams reset by the caller, or by us for its errors (CVE-2023-44487 "rapid reset", CVE-2025-8671): each costs a
//     backend a call. resetsBurst at once, then resetsPerSecond.
//   - PING, SETTINGS, PRIORITY, empty DATA, empty CONTINUATION (CVE-2019-9512, -9515, -9513, -9518, CVE-2024-27316):
//     nuisancesMax in a row without any frame of an open stream in between, then nuisancesPerSecond: a peer may ask for years
//     whether we are still there.
//   - Interim responses (1xx), each of which the caller would have to be told: interimMax a call.
//   - Answers that are not read: controlBytesMax (output.go). Header blocks: blockreader.go. Frames and header blocks
//     that are never finished: frameWait (watch.go).
//
// Too much of it ends the connection with ENHANCE_YOUR_CALM, counted by reason. Other connection errors are counted too.

import (
	"time"

	"golang.org/x/net/http2"
)

const (
	resetsBurst     = 1000
	resetsPerSecond = 500
	nuisancesMax    = 10000

	nuisancesPerSecond = 10
	interimMax         = 10
)

// rate allows a burst, and then so many a second. The zero rate has its whole burst.
type rate struct {
	used int           // of the burst
	at   time.Duration // when used was reckoned
}

// allow takes one. now is on any monotonic clock.
func (r *rate) allow(now time.Duration, burst, perSecond int) bool {
	if r.used++; r.used <= burst {
		return true
	}
	earned := min(int((now-r.at)*time.Duration(perSecond)/time.Second), burst)
	if earned <= 0 {
		return false
	}
	r.used -= earned
	r.at = now
	return true
}

// nuisance counts a frame that carries no call forward.
func (c *conn) nuisance() error {
	c.mu.Lock()
	allowed := c.nuisances.allow(time.Duration(c.readAt.Load()), nuisancesMax, nuisancesPerSecond)
	c.mu.Unlock()
	if !allowed {
		return c.calm("nuisance", "too many frames that are of no use")
	}
	return nil
}

// emptyData counts a DATA frame on an open stream that brings nothing.
func (c *conn) emptyData() error {
	if !c.empty.allow(time.Duration(c.readAt.Load()), nuisancesMax, nuisancesPerSecond) {
		return c.calm("nuisance", "too many empty DATA frames")
	}
	return nil
}

// resetByCaller counts a stream that was reset by the caller, or because of it.
func (c *conn) resetByCaller() error {
	if _, caller := c.role.(*callerConn); caller && !c.resets.allow(c.proxy.now(), resetsBurst, resetsPerSecond) {
		return c.calm("resets", "streams are reset too fast")
	}
	return nil
}

// blame counts a connection error; those of calm are counted already.
func (c *conn) blame(e connError) {
	if e.code == http2.ErrCodeEnhanceYourCalm {
		return
	}
	reason := "protocol"
	if _, backend := c.role.(*backendConn); backend {
		reason = "backend_protocol"
	}
	c.proxy.abuses.WithLabelValues(reason).Inc()
}

// calm is the error that ends an abusive peer's connection.
func (c *conn) calm(reason, text string) error {
	c.proxy.abuses.WithLabelValues(reason).Inc()
	return connError{http2.ErrCodeEnhanceYourCalm, text}
}
