package pair

import (
	"container/list"
	"net/netip"
	"time"
)

// sources remembers whose handshakes fail, to slow down who would cost one worker after the other: a libzmq worker that
// connects is gone for good after one handshake with a wrong key. It is pure; now is the time since some moment.
type sources struct {
	entries map[netip.Prefix]*list.Element
	recent  list.List // of *source, the one heard of last in front
}

type source struct {
	prefix   netip.Prefix
	failures int           // in a row
	failed   time.Duration // when it last did
	success  time.Duration // when a handshake last succeeded, or a pair of its ended
	open     int           // pairs whose handshake succeeded
	trusted  bool          // success is set
}

const (
	sourcesMax = 10_000

	// failuresFree is how many handshakes in a row may fail before a source is slowed down: workers die, too.
	failuresFree = 2

	// A source that goes on failing is let through after a pause that doubles from the first to the second of these.
	pauseMin = time.Second
	pauseMax = time.Minute

	// trustFor is how long a success keeps a source from being slowed down: many clients can share an address.
	trustFor = time.Minute
)

// prefixOf is what one operator has: an IPv4 address, or an IPv6 network of 64 bits, all addresses of which are one
// machine's to choose from.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // fails for an invalid address alone, which gives the invalid prefix
	return p
}

// of finds or makes the entry of a source. The one not heard of for the longest time makes place for it.
func (s *sources) of(a netip.Addr) *source {
	prefix := prefixOf(a)
	if e := s.entries[prefix]; e != nil {
		s.recent.MoveToFront(e)
		return e.Value.(*source)
	}
	if s.entries == nil {
		s.entries = map[netip.Prefix]*list.Element{}
	}
	if len(s.entries) >= sourcesMax {
		oldest := s.recent.Remove(s.recent.Back()).(*source)
		delete(s.entries, oldest.prefix)
	}
	entry := &source{prefix: prefix}
	s.entries[prefix] = s.recent.PushFront(entry)
	return entry
}

// fail records a handshake that failed.
func (s *sources) fail(a netip.Addr, now time.Duration) {
	e := s.of(a)
	e.failures++
	e.failed = now
}

// succeed records a handshake that succeeded.
func (s *sources) succeed(a netip.Addr, now time.Duration) {
	e := s.of(a)
	e.failures, e.success, e.trusted = 0, now, true
	e.open++
}

// ended records the end of a pair whose handshake had succeeded.
func (s *sources) ended(a netip.Addr, now time.Duration) {
	e := s.of(a)
	e.open = max(0, e.open-1)
	e.success, e.trusted = now, true
}

// failing tells whether a source shall be held silent.
func (s *sources) failing(a netip.Addr, now time.Duration) bool {
	element := s.entries[prefixOf(a)]
	if element == nil {
		return false
	}
	e := element.Value.(*source)
	switch {
	case e.failures <= failuresFree:
		return false
	case e.open > 0 || e.trusted && now-e.success < trustFor:
		return false
	}
	pause := pauseMax
	if doublings := e.failures - failuresFree - 1; doublings < 16 {
		pause = min(pauseMin<<doublings, pauseMax)
	}
	return now-e.failed < pause
}
