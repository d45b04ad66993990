package relay

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	idlePairs    = 200
	smallBudget  = 64 << 10
	pingsCounted = 2000
)

// An idle relay has no goroutine of its own: the loops' are all there are, however many relays they serve.
func TestIdleRelaysHaveNoGoroutines(t *testing.T) {
	s := &scene{group: new(Group), network: "tcp"}
	before := runtime.NumGoroutine()
	casts := make([]*cast, idlePairs)
	for i := range casts {
		casts[i] = s.cast(t, Limits{Idle: time.Minute})
		say(t, casts[i].client, []byte("hello"))
		want(t, casts[i].worker, []byte("hello"))
	}
	if n := runtime.NumGoroutine() - before; n > idlePairs/4 {
		t.Errorf("%d goroutines for %d idle relays", n, idlePairs)
	}
	for _, c := range casts {
		c.client.Close()
		c.worker.Close()
		c.end(t)
	}
}

// A message that is relayed costs no allocation.
func TestMessagesCostNoMemory(t *testing.T) {
	s := &scene{group: new(Group), network: "tcp"}
	c := s.cast(t, Limits{Idle: time.Minute})
	message, got := []byte("ping"), make([]byte, 4)
	each := testing.AllocsPerRun(pingsCounted, func() {
		c.client.Write(message)
		io.ReadFull(c.worker, got)
		c.worker.Write(message)
		io.ReadFull(c.client, got)
	})
	if each >= 1 {
		t.Errorf("%v allocations a round trip", each)
	}
}

// A relay that has much to move moves a bounded part of it, and then it is the others' turn.
func TestBusyRelayTakesTurns(t *testing.T) {
	SetBuffersMax(-1) // used up from the start: a read takes thriftyBytes
	defer SetBuffersMax(0)
	s := &scene{group: new(Group), network: "tcp"}
	client, a := s.connect(t)
	_, b := s.connect(t)
	sent := noise(1, 16*readsPerTurn*thriftyBytes)
	say(t, client, sent)
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(int32(l.epoll))
	defer closeFD(int32(l.wake))
	l.buffer = getChunk()
	of, ok := take(a, b)
	if !ok {
		t.Fatal("no descriptors")
	}
	defer closeFD(of[0].fd)
	defer closeFD(of[1].fd)
	p := &pair{loop: l, place: -1, fd: [2]int32{of[0].fd, of[1].fd}}
	p.sockets[aToB].readable = true
	if more := l.turn(p); !more {
		t.Error("the pair does not ask for another turn")
	}
	if moved := p.total(); moved != readsPerTurn*thriftyBytes {
		t.Errorf("%d bytes were moved in one turn, want %d", moved, readsPerTurn*thriftyBytes)
	}
}

// A client that vanishes after its FIN is noticed although nobody reads from it any more.
func TestClientThatVanishesAfterItsFINIsNoticed(t *testing.T) {
	s := &scene{group: new(Group), network: "tcp"}
	c := s.cast(t, Limits{Drain: shortLimit, HalfClosed: time.Hour})
	c.client.CloseWrite()
	wantEOF(t, c.worker)
	reset(t, c.client)
	c.wantCut(t, A, DrainTimeout) // the worker ignores its end
}

// Urgent data makes a read stop short of what is there: the rest must not wait for the next byte.
func TestBytesBehindUrgentDataArrive(t *testing.T) {
	s := &scene{group: new(Group), network: "tcp"}
	client, a := s.connect(t)
	worker, b := s.connect(t)
	say(t, client, []byte("before"))
	raw, err := client.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil) })
	if err != nil {
		t.Fatal(err)
	}
	say(t, client, []byte("behind"))
	s.start(client, worker, a, b, Limits{})
	want(t, worker, []byte("beforebehind")) // urgent data itself is not part of the stream
}

// When the budget is used up relays go on, in small pieces.
func TestRelaysGoOnWhenBuffersAreUsedUp(t *testing.T) {
	SetBuffersMax(smallBudget)
	defer SetBuffersMax(0)
	s := &scene{group: new(Group), network: "unix"} // whose kernel buffers are small
	var all sync.WaitGroup
	for i := range 10 {
		c := s.cast(t, Limits{})
		sent := noise(uint64(i), 2<<20)
		all.Go(func() { c.client.Write(sent); c.client.CloseWrite() })
		all.Go(func() {
			got, err := io.ReadAll(c.worker)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("got %d of %d bytes, error %v", len(got), len(sent), err)
			}
			c.worker.Close()
		})
	}
	all.Wait()
	eventually(t, "all relays end", func() bool { return s.group.Live() == 0 })
}

// A peer that takes nothing itself may close without having sent all, and then what it has not sent is lost: it is read ahead
// of its destination, up to a bound.
func TestPeerThatTakesNothingIsReadAhead(t *testing.T) {
	s := &scene{group: new(Group), network: "unix"}
	c := s.cast(t, Limits{})
	for _, peer := range []net.Conn{c.worker, c.client} {
		go func() {
			for chunk := noise(1, 64<<10); ; {
				if _, err := peer.Write(chunk); err != nil {
					return
				}
			}
		}()
	}
	eventually(t, "both ways are read ahead", func() bool { return heldBytes.Load() > readAheadMax })
	if held := heldBytes.Load(); held > 2*readAheadMax+8*bufferBytes {
		t.Errorf("%d bytes are held", held)
	}
	s.group.Shutdown(done())
	eventually(t, "nothing is held any more", func() bool { return heldBytes.Load() == 0 })
}

// The heap gives the pairs in the order in which they are due, whatever happens meanwhile.
func TestLooksComeInTheirOrder(t *testing.T) {
	var d deadlines
	pairs := make([]*pair, 300)
	for i := range pairs {
		pairs[i] = &pair{place: -1}
	}
	for range 5000 {
		p := pairs[rand.IntN(len(pairs))]
		if rand.IntN(3) == 0 {
			d.remove(p)
		} else {
			d.set(p, time.Duration(rand.IntN(1000)))
		}
	}
	last := time.Duration(-1)
	for due, any := d.next(); any; due, any = d.next() {
		if due < last {
			t.Fatalf("due %d after %d", due, last)
		}
		last = due
		d.remove(d[0].pair)
	}
	for _, p := range pairs {
		if p.place != -1 {
			t.Errorf("a pair is left at %d", p.place)
		}
	}
}
