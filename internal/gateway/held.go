package gateway

import (
	"container/list"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"gateway/internal/metrics"
)

// errOverflow is why a held client was closed before it left.
var errOverflow = errors.New("held silent until limits.held was reached, as the oldest")

// room holds ZMTP clients silent. libzmq comes back ten times a second when it is closed, and every half minute when it
// is not answered. The oldest is closed when there is no place for another.
//
// Rules: a client's goroutine reads and discards until the client leaves or is closed; it alone calls done.
type room struct {
	mu     sync.Mutex
	max    int
	closed bool
	guests list.List // of *guest, the oldest first
	count  prometheus.Gauge
}

type guest struct {
	conn     net.Conn
	overflow bool // closed to make place
}

func newRoom(max int, m *metrics.Metrics) *room {
	r := &room{max: max, count: prometheus.NewGauge(prometheus.GaugeOpts{})}
	if m != nil {
		r.count = m.Held
	}
	return r
}

// setMax changes how many are held. Those who are too many go when the next one comes.
func (r *room) setMax(max int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.max = max
}

// hold keeps c silent, and calls done when it has ended. It returns at once.
func (r *room) hold(c net.Conn, done func(Outcome)) {
	g := &guest{conn: c}
	r.mu.Lock()
	if r.closed || r.max <= 0 {
		r.mu.Unlock()
		done(Outcome{Result: "no block", Err: ErrNoBlock})
		return
	}
	for r.guests.Len() >= r.max {
		oldest := r.guests.Front().Value.(*guest)
		r.guests.Remove(r.guests.Front())
		oldest.overflow = true
		oldest.conn.Close()
	}
	place := r.guests.PushBack(g)
	r.count.Set(float64(r.guests.Len()))
	r.mu.Unlock()

	go func() {
		n, _ := io.Copy(io.Discard, c) // whatever ends it, the client is gone
		r.mu.Lock()
		if !g.overflow {
			r.guests.Remove(place)
			r.count.Set(float64(r.guests.Len()))
		}
		o := Outcome{BytesIn: n, Result: "held", Err: ErrNoBlock}
		if g.overflow {
			o.Err = errOverflow
		}
		r.mu.Unlock()
		done(o)
	}()
}

// Hold keeps a ZMTP client silent, beside those that no block takes and within the same limit, and calls ended when it has
// left or was closed. It returns at once.
func (s *Server) Hold(c net.Conn, ended func()) { s.held.hold(c, func(Outcome) { ended() }) }

// close lets all go, and holds nobody any more.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for e := r.guests.Front(); e != nil; e = e.Next() {
		e.Value.(*guest).conn.Close()
	}
}
