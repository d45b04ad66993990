package pair

import (
	"net"
	"net/netip"
	"time"

	"gateway/backends/relay"
	"gateway/internal/zmtp"
)

// peer is one offered connection, client or worker.
//
// Rules: a peer has one owner at a time: the goroutine of its gate; then the room, together with its tap and its timer; then
// the goroutine that joins it with its partner; then the relay. Who takes it out of the room, under the Rendezvous's lock, owns
// it from then on. The last owner calls finish, once.
type peer struct {
	conn    net.Conn
	socket  string     // who is at the other end of conn
	addr    string     // who that is for people; behind a proxy that tells, another address
	source  netip.Addr // invalid over a unix socket
	arrived time.Time
	tap     tap         // what was read and not yet passed on is in tap.kept
	timer   *time.Timer // while it is in the room
	done    func(Outcome)
}

// client is a connection from the exposed port.
type client struct {
	peer
	place     clientPlace
	answered  int            // bytes of its partner's greeting that it got already
	mechanism zmtp.Mechanism // empty without a gate
	identity  string         // its routing id, where it shows
	flow      relay.Flow     // but for the worker
}

// worker is a connection from the door: of a worker, or of an agent's slot.
type worker struct {
	peer
	place     workerPlace
	agent     bool
	name      string // of its identity
	told      int    // bytes of its partner's greeting that it got already
	mechanism zmtp.Mechanism
	slots     int // agent: how many it keeps
	stages    []stage
}

// newPeer takes over an offered connection, and what was read from it before.
func newPeer(c net.Conn, done func(Outcome)) peer {
	p := peer{addr: addrOf(c), source: sourceOf(c), arrived: time.Now(), done: done}
	var kept []byte
	for {
		prefixed, ok := c.(relay.Prefixed)
		if !ok {
			break
		}
		read, below := prefixed.Detach()
		kept, c = append(kept, read...), below
	}
	p.conn, p.socket, p.tap = c, addrOf(c), tap{conn: c, kept: kept}
	return p
}

// host is the machine that a worker without a name is known by.
func (p *peer) host() string {
	if p.source.IsValid() {
		return p.source.String()
	}
	return p.addr
}

// finish ends a peer that was never relayed.
func (p *peer) finish(o Outcome) {
	p.conn.Close()
	p.done(o)
}

// stopTimer is called when the peer leaves the room.
func (p *peer) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// greeted is a client whose ZMTP greeting was answered already, in part or whole, to see what it is. What it sent is in
// its prefix.
type greeted interface {
	Answered() int // how many bytes of its partner's greeting it has got
}

func answeredOf(c net.Conn) int {
	if g, ok := c.(greeted); ok {
		return g.Answered()
	}
	return 0
}

func addrOf(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil && a.String() != "" {
		return a.String()
	}
	return "unknown"
}

func sourceOf(c net.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// stage is a moment in the life of a parked worker.
type stage struct {
	age  time.Duration
	what func(*room, *worker) // nil: it retires
}

// stagesOf are the stages of a libzmq worker that retires at an age, 0 for never.
func stagesOf(retireAge time.Duration) []stage {
	all := []stage{
		{libzmqPatience - fadingMargin, (*room).fade},
		{libzmqPatience + fadingMargin, (*room).outlive},
	}
	if retireAge <= 0 {
		return all
	}
	var before []stage
	for _, s := range all {
		if s.age < retireAge {
			before = append(before, s)
		}
	}
	return append(before, stage{age: retireAge})
}

// retireAge jitters the age at which a worker retires, so that workers that came together do not leave together. luck is in
// [0, 1).
func retireAge(after time.Duration, luck float64) time.Duration {
	return after - time.Duration(luck*float64(after)/4)
}
