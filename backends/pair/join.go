package pair

// Joining a client and its worker: from the moment at which the room gave the one to the other until the relay runs. One
// goroutine a pair does it, and owns both; it ends when the relay runs, or earlier.
//
// Until the worker has got a byte of the client's, either may be found to be gone without harm to the other: the worker goes
// back to the room, or the client does, to its old place. After that they end together: what a worker has read of one
// client must not be followed by another's bytes.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"gateway/backends/relay"
)

// pairing is a client and its worker.
type pairing struct {
	client *client
	worker *worker
	room   *room
	since  time.Time
	key    string // in Rendezvous.pairs: the client's socket
	shaken bool   // behind a gate: the handshake is complete; guarded by Rendezvous.mu

	// toWorker and toClient count what was passed on before the relay began.
	toWorker, toClient atomic.Int64

	deadline time.Time // of all that is done before the relay begins
}

// pair takes two that the room has given to each other. mu is held.
func (r *Rendezvous) pair(room *room, c *client, w *worker) {
	c.stopTimer()
	w.stopTimer()
	p := &pairing{client: c, worker: w, room: room, since: time.Now(), key: c.socket}
	if r.pairs[p.key] != nil { // clients without an address of their own: of a unix socket
		p.key += "#" + strconv.FormatUint(c.place.seq, 10)
	}
	r.pairs[p.key] = p
	go r.join(p)
}

// join brings the two together.
func (r *Rendezvous) join(p *pairing) {
	c, w := p.client, p.worker
	clientErr, workerErr := c.tap.close(), w.tap.close()
	switch {
	case clientErr != nil:
		r.dissolve(p)
		c.finish(Outcome{End: Left})
		if workerErr == nil {
			r.place(w)
		} else {
			w.finish(Outcome{End: Left})
		}
		return
	case workerErr != nil:
		r.repair(p, Outcome{End: Left})
		return
	}
	stop := context.AfterFunc(r.stopping, func() {
		c.conn.Close()
		w.conn.Close()
	})
	if w.agent {
		if err := w.summon(c.addr); err != nil {
			stop()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				r.dismiss(p.room, w.place.identity)
			}
			r.repair(p, Outcome{End: AgentBusy, Err: err})
			return
		}
	}
	p.deadline = time.Now().Add(r.options.HandshakeTimeout)
	if err := p.open(); err != nil {
		stop()
		r.repair(p, Outcome{End: Left, Err: err})
		return
	}
	r.meters.paired.Inc()
	r.meters.wait.Observe(p.since.Sub(c.arrived).Seconds())
	failed := p.answer()
	if failed == nil && r.gated() {
		failed = p.shake()
	}
	if !stop() {
		failed = &failure{end: Stopped, err: ErrStopped}
	}
	r.judge(p, failed)
}

// judge ends a pair whose handshake failed, and lets the others begin.
func (r *Rendezvous) judge(p *pairing, failed *failure) {
	c, w := p.client, p.worker
	if r.gated() {
		r.learn(p, failed)
	}
	if failed == nil {
		r.relay(p)
		return
	}
	stats := relay.Stats{AToB: p.toWorker.Load(), BToA: p.toClient.Load()}
	r.dissolve(p)
	w.finish(Outcome{Partner: c.addr, End: failed.end, Stats: stats, Err: failed.err})
	o := Outcome{Partner: w.title(), End: failed.end, Stats: stats, Err: failed.err}
	if r.failing(c) {
		r.hold(&c.peer, o)
		return
	}
	c.finish(o)
}

// open gives a worker what its client has sent so far, where the relay cannot: what it was told already must be left out. An
// error says that the worker was dead, and that the client can have another.
func (p *pairing) open() error {
	c, w := p.client, p.worker
	if c.answered == 0 && w.told == 0 {
		return nil // byte for byte, from the first on: the relay does it
	}
	_ = w.conn.SetWriteDeadline(p.deadline)
	n, err := w.conn.Write(c.tap.kept[w.told:])
	if err != nil {
		return fmt.Errorf("pair: write to the worker: %w", err)
	}
	_ = w.conn.SetWriteDeadline(time.Time{})
	c.tap.kept = nil
	p.toWorker.Store(int64(w.told + n))
	return nil
}

// answer takes what the client has got already from the start of the worker's stream.
func (p *pairing) answer() *failure {
	c, w := p.client, p.worker
	n := min(c.answered, len(w.tap.kept))
	w.tap.kept = w.tap.kept[n:]
	if n == c.answered {
		return nil
	}
	_ = w.conn.SetReadDeadline(p.deadline)
	if _, err := io.CopyN(io.Discard, w.conn, int64(c.answered-n)); err != nil {
		end := endOf(err)
		err = fmt.Errorf("pair: the worker did not answer what the client said first (another version of ZMTP, another mechanism or another key?): %w", err)
		return &failure{end: end, err: err, silent: end == Unfinished}
	}
	_ = w.conn.SetReadDeadline(time.Time{})
	return nil
}

// relay hands both over.
func (r *Rendezvous) relay(p *pairing) {
	c, w := p.client, p.worker
	flow := c.flow
	flow.Target = w.name
	r.group.RelayFlow(flow, c.rest(), w.rest(), r.options.Limits, func(stats relay.Stats, err error) {
		stats.AToB += p.toWorker.Load()
		stats.BToA += p.toClient.Load()
		r.dissolve(p)
		c.done(Outcome{Partner: w.title(), End: Relayed, Stats: stats, Err: err})
		w.done(Outcome{Partner: c.addr, End: Relayed, Stats: stats, Err: err})
	})
}

// dissolve takes the pair out of the table: neither is the other's any more.
func (r *Rendezvous) dissolve(p *pairing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, p.key)
	p.room.ended(p.worker)
	r.idle(p.room, p.worker.place.identity)
	if p.shaken {
		r.sources.ended(p.client.source, r.now())
	}
	if r.drained != nil && len(r.pairs) == 0 {
		close(r.drained)
		r.drained = nil
	}
	r.show()
}

// repair ends a worker that was of no use and gets the client another.
func (r *Rendezvous) repair(p *pairing, o Outcome) {
	r.dissolve(p)
	r.meters.repaired.Inc()
	p.worker.finish(o)
	r.admit(p.client)
}

// rest is the connection for the relay: what was read ahead, then what comes.
func (p *peer) rest() net.Conn { return &readAhead{p.conn, p.tap.take()} }

// readAhead is a connection of which some bytes were read already; see relay.Prefixed.
type readAhead struct {
	net.Conn
	read []byte
}

func (c *readAhead) Detach() ([]byte, net.Conn) { return c.read, c.Conn }

// title names a worker for people: its agent, or its address.
func (w *worker) title() string {
	if w.agent {
		return w.name
	}
	return w.addr
}
