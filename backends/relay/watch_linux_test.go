package relay

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"gateway/internal/bare"
)

// watched is a listener of which the loops accept; what they have accepted comes from the channel.
func watched(t *testing.T, again bool) (address string, accepted <-chan net.Conn, stop func()) {
	t.Helper()
	socket := listen(t)
	l, err := bare.Listen(socket.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conns := make(chan net.Conn, 100)
	stop, err = Watch(l, func() bool {
		if c, err := l.TryAccept(); err == nil {
			conns <- c
		}
		return again
	})
	if err != nil {
		t.Fatal(err)
	}
	return socket.Addr().String(), conns, stop
}

// TestConnectionThatComesWhileAnotherWatchEndsIsAccepted has a reload's two listeners on one socket: who comes meanwhile, alone,
// must not wake the one that stops and nobody else.
func TestConnectionThatComesWhileAnotherWatchEndsIsAccepted(t *testing.T) {
	socket := listen(t).(*net.TCPListener)
	watch := func() (accepted <-chan net.Conn, stop func()) {
		l, err := bare.Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		conns := make(chan net.Conn, 1)
		stop, err = Watch(l, func() bool {
			if c, err := l.TryAccept(); err == nil {
				conns <- c
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return conns, stop
	}
	before, stop := watch()
	for range reloadsWatched {
		after, stopNext := watch()
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		hello(t, socket.Addr().String())
		select {
		case c := <-before:
			c.Close()
		case c := <-after:
			c.Close()
		case <-time.After(patience):
			t.Fatal("nobody has accepted it")
		}
		<-stopped
		before, stop = after, stopNext
	}
	stop()
}

// reloadsWatched is how often listeners change in a test.
const reloadsWatched = 2000

func hello(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.Write([]byte("hello"))
	return c
}

func TestEachConnectionToAWatchedListenerIsAccepted(t *testing.T) {
	address, accepted, stop := watched(t, true)
	defer stop()
	for range 50 {
		hello(t, address)
	}
	for range 50 {
		(<-accepted).Close()
	}
}

func TestNobodyIsAcceptedAfterTheWatchWasStopped(t *testing.T) {
	address, accepted, stop := watched(t, true)
	hello(t, address)
	(<-accepted).Close()
	stop()
	hello(t, address)
	again, accepted2, stop2 := watched(t, true) // by the time that this one is served, the loops have seen the other
	defer stop2()
	hello(t, again)
	(<-accepted2).Close()
	if len(accepted) > 0 {
		t.Error("a connection was accepted")
	}
}

func TestWatchEndsWhereItIsNotWanted(t *testing.T) {
	address, accepted, stop := watched(t, false)
	defer stop()
	all, _ := allLoops()
	for range all { // each loop asks once at most
		hello(t, address)
	}
	(<-accepted).Close()
	again, accepted2, stop2 := watched(t, true)
	defer stop2()
	for range 20 {
		hello(t, again)
		(<-accepted2).Close()
	}
	if n := len(accepted); n >= len(all) {
		t.Errorf("%d more were accepted by %d loops", n, len(all))
	}
}

// stop is called while connections come; -race and the channel tell whether a call outlives it.
func TestStopWaitsForTheCallsThatRun(t *testing.T) {
	for range 50 {
		socket := listen(t)
		l, err := bare.Listen(socket.(*net.TCPListener))
		if err != nil {
			t.Fatal(err)
		}
		var stopped, late atomic.Bool
		called := make(chan struct{}, 1000)
		stop, err := Watch(l, func() bool {
			if c, err := l.TryAccept(); err == nil {
				c.Close()
			}
			called <- struct{}{}
			late.Store(late.Load() || stopped.Load())
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			hello(t, socket.Addr().String())
		}
		<-called
		stop()
		stopped.Store(true)
		l.Close()
		if late.Load() {
			t.Fatal("a call came after stop had returned")
		}
	}
}

func TestOrdinaryListenerIsNotWatched(t *testing.T) {
	if _, err := Watch(listen(t), func() bool { return true }); err == nil {
		t.Error("no error")
	}
}

func TestLoopsEndWhenNothingIsWatchedAnyMore(t *testing.T) {
	_, _, stop := watched(t, true)
	all, _ := allLoops()
	stop()
	for _, l := range all {
		eventually(t, "the loop ends", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return !l.running
		})
	}
}
