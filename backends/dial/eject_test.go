package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func port(t *testing.T, target string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(target, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func failDial(t *testing.T, b *Backend) error {
	t.Helper()
	c, target, err := b.Dial(t.Context())
	if err == nil {
		c.Close()
		target.Release()
		t.Fatal("a dial succeeded that should not")
	}
	return err
}

func dialOnce(t *testing.T, b *Backend) string {
	t.Helper()
	c, target, err := b.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	target.Release()
	return target.Address
}

// A target that is down costs its block's clients three failed dials, not one each.
func TestDeadTargetIsLeftOut(t *testing.T) {
	w := startWorker(t, "tcp", "127.0.0.1:0")
	dead := closedPort(t)
	b := newBackend(t, Options{Targets: []string{dead, w.target}, Balance: RoundRobin, EjectMin: time.Hour, EjectMax: time.Hour})
	for range 20 {
		dialOnce(t, b)
	}
	s := b.Status()[0]
	if s.Failures != 3 || s.EjectedFor < time.Hour/2 || s.LastError == "" || s.LastFailed <= 0 {
		t.Errorf("status %+v", s)
	}
	if b.Status()[1].EjectedFor != 0 {
		t.Errorf("status %+v", b.Status()[1])
	}
	if left := b.LeftOut(); !left[dead] || left[w.target] || len(left) != 2 {
		t.Errorf("left out are %v", left)
	}
}

// Dials that were on their way when a target was ejected are no news: the time for which it is left out doubles with each time that
// it was tried again, not with each client of a moment.
func TestFailuresOfOneMomentEjectOnce(t *testing.T) {
	b := newBackend(t, Options{Targets: []string{closedPort(t)}, EjectAfter: 3, EjectMin: time.Hour, EjectMax: 1000 * time.Hour})
	type dialled struct {
		target *Target
		what   trial
	}
	var all []dialled
	for range 10 {
		target, what, _ := b.claim(t.Context(), nil)
		all = append(all, dialled{target, what})
	}
	for _, d := range all[:9] {
		b.settle(t.Context(), d.target, d.what, syscall.ECONNREFUSED)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	b.settle(gone, all[9].target, all[9].what, context.Canceled) // whose client left does not bring the target back
	if s := b.Status()[0]; s.Failures != 3 || s.EjectedFor < time.Hour/2 || s.EjectedFor > 2*time.Hour || s.Open != 0 {
		t.Errorf("status %+v, want it ejected for an hour", s)
	}
}

func TestTargetWhoseTimeIsOverIsLeftOutNoMore(t *testing.T) {
	dead := closedPort(t)
	b := newBackend(t, Options{Targets: []string{dead}, EjectAfter: 1, EjectMin: time.Millisecond, EjectMax: time.Millisecond})
	failDial(t, b)
	eventually(t, "nobody leaves it out", func() bool { return !b.LeftOut()[dead] })
}

func TestClientDoesNotWaitWhenAllTargetsAreLeftOut(t *testing.T) {
	dead := closedPort(t)
	b := newBackend(t, Options{Targets: []string{dead}, EjectAfter: 1, EjectMin: time.Hour})
	for range 5 {
		failDial(t, b)
	}
	if s := b.Status()[0]; s.Failures != 1 {
		t.Errorf("failures of a target that was left out anyway were counted: %+v", s)
	}
	listener, err := net.Listen("tcp", strings.TrimPrefix(dead, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialOnce(t, b)
	if s := b.Status()[0]; s.Failures != 0 || s.EjectedFor != 0 {
		t.Errorf("the target is back, but: %+v", s)
	}
}

// While one connection finds out whether a target is back, the others do not run into it.
func TestOneClientTriesTheTargetThatMayBeBack(t *testing.T) {
	w := startWorker(t, "tcp", "127.0.0.1:0")
	b := newBackend(t, Options{Targets: []string{blackHole(t), w.target}, ConnectTimeout: time.Minute, DialTimeout: time.Minute, EjectAfter: 1})
	hole := b.listed[0]
	hole.failures, hole.ejectedUntil = 1, 1 // it was left out, and the time is over
	ctx, cancel := context.WithCancel(t.Context())
	var tries sync.WaitGroup
	defer tries.Wait()
	defer cancel()
	for range 2 { // equals take turns: one of the two meets it
		tries.Go(func() {
			if c, target, err := b.Dial(ctx); err == nil {
				c.Close()
				target.Release()
			}
		})
	}
	eventually(t, "one tries it", func() bool { return b.Status()[0].Open == 1 })
	for range 10 {
		if got := dialOnce(t, b); "tcp://"+got != w.target {
			t.Errorf("connected to %s", got)
		}
	}
}

// The addresses are nobody else's: other programs could have the same port at those of every day.
func TestMovedNameIsFollowed(t *testing.T) {
	first := startWorker(t, "tcp", "127.0.77.1:0")
	second := startWorker(t, "tcp", "127.0.77.2:"+port(t, first.target))
	var moved atomic.Bool
	b := newBackend(t, Options{
		Targets:      []string{"tcp://worker.example:" + port(t, first.target)},
		ResolveEvery: time.Nanosecond,
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			if moved.Load() {
				return []netip.Addr{netip.MustParseAddr("127.0.77.2")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("127.0.77.1")}, nil
		},
	})
	kept, target, err := b.Dial(t.Context())
	if err != nil || "tcp://"+target.Address != first.target {
		t.Fatalf("target %+v, error %v", target, err)
	}
	first.Close()
	moved.Store(true)
	// The first dial after the move meets the old address or the new one, but it gets through.
	if got := dialOnce(t, b); "tcp://"+got != second.target {
		t.Errorf("connected to %s", got)
	}
	if s := b.Status(); len(s) != 2 || s[0].Open != 0 || s[1].Open != 1 {
		t.Errorf("the connection to the old address is not shown: %+v", s)
	}
	kept.Close()
	target.Release()
	if s := b.Status(); len(s) != 1 {
		t.Errorf("the old address is still there: %+v", s)
	}
}

func TestEachAddressOfNameIsTried(t *testing.T) {
	w := startWorker(t, "tcp", "127.0.77.3:0")
	b := newBackend(t, Options{
		Targets: []string{"tcp://worker.example:" + port(t, w.target)},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.77.1"), netip.MustParseAddr("127.0.77.2"), netip.MustParseAddr("127.0.77.3"),
				netip.MustParseAddr("127.0.77.3")}, nil
		},
	})
	for range 3 {
		if got := dialOnce(t, b); "tcp://"+got != w.target {
			t.Errorf("connected to %s", got)
		}
	}
	if s := b.Status(); len(s) != 3 || s[2].Failures != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestOldAddressesServeWhileLookupFails(t *testing.T) {
	w := startWorker(t, "tcp", "127.0.0.1:0")
	broken := errors.New("no resolver")
	var down atomic.Bool
	var failed atomic.Int64
	b := newBackend(t, Options{
		Targets:      []string{"tcp://worker.example:" + port(t, w.target)},
		ResolveEvery: time.Nanosecond,
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			if down.Load() {
				failed.Add(1)
				return nil, broken
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	})
	dialOnce(t, b)
	down.Store(true)
	eventually(t, "a lookup fails", func() bool { dialOnce(t, b); return failed.Load() > 0 })
	dialOnce(t, b)
	eventually(t, "the error is shown", func() bool {
		s := b.Status()
		return len(s) == 2 && s[1].LastError == broken.Error()
	})
}

func TestClientsOfUnknownNameWaitForOneLookup(t *testing.T) {
	w := startWorker(t, "tcp", "127.0.0.1:0")
	var lookups atomic.Int64
	answer := make(chan struct{})
	b := newBackend(t, Options{
		Targets: []string{"tcp://worker.example:" + port(t, w.target)},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			lookups.Add(1)
			<-answer
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { dialOnce(t, b) })
	}
	eventually(t, "the name is looked up", func() bool { return lookups.Load() > 0 })
	close(answer)
	all.Wait()
	if n := lookups.Load(); n != 1 {
		t.Errorf("%d lookups, want 1", n)
	}
}
