package gateway

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestEachSourceHasItsOwnShareOfConnections(t *testing.T) {
	var s sources
	s.setLimits(2, 0)
	a, b := source("192.0.2.1"), source("192.0.2.2")
	leaves := []func(){}
	for i, want := range []string{"", "", refusedPerSource, refusedPerSource} {
		leave, refused := s.admit(a)
		if refused != want {
			t.Fatalf("connection %d: %q, want %q", i, refused, want)
		}
		leaves = append(leaves, leave)
	}
	if _, refused := s.admit(b); refused != "" {
		t.Errorf("another source: %q", refused)
	}
	leaves[0]()
	if _, refused := s.admit(a); refused != "" {
		t.Errorf("after one has left: %q", refused)
	}
	if _, refused := s.admit(a); refused != refusedPerSource {
		t.Errorf("one too many again: %q", refused)
	}
	s.setLimits(3, 0)
	if _, refused := s.admit(a); refused != "" {
		t.Errorf("after the limit was raised: %q", refused)
	}
	s.setLimits(0, 0)
	if _, refused := s.admit(a); refused != "" {
		t.Errorf("without a limit: %q", refused)
	}
}

func TestConnectionsOfASourceThatComeTooFastAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sources
		s.setLimits(0, 10)
		a := source("192.0.2.1")
		burst := func(n int) (admitted int) {
			for range n {
				if leave, refused := s.admit(a); refused == "" {
					leave()
					admitted++
				} else if refused != refusedNewPerSource {
					t.Fatal(refused)
				}
			}
			return admitted
		}
		if n := burst(50); n != 10 {
			t.Errorf("%d of 50 at once, want 10", n)
		}
		time.Sleep(500 * time.Millisecond)
		if n := burst(50); n != 5 {
			t.Errorf("%d half a second later, want 5", n)
		}
		s.setLimits(0, 100) // a reload
		time.Sleep(500 * time.Millisecond)
		if n := burst(100); n != 50 {
			t.Errorf("%d half a second after the limit was raised, want 50", n)
		}
	})
}

func TestWhoHasANetworkOfIPv6IsOneSource(t *testing.T) {
	var s sources
	s.setLimits(1, 0)
	for _, c := range []struct{ addr, refused string }{
		{"2001:db8:1:2::1", ""}, {"2001:db8:1:2:ffff::9", refusedPerSource}, {"2001:db8:1:3::1", ""},
		{"192.0.2.1", ""}, {"::ffff:192.0.2.1", refusedPerSource}, {"192.0.2.2", ""},
		{"fe80::1%eth0", ""}, {"fe80::2%eth1", refusedPerSource},
	} {
		if _, refused := s.admit(source(c.addr)); refused != c.refused {
			t.Errorf("%s: %q, want %q", c.addr, refused, c.refused)
		}
	}
	for range 2 {
		if _, refused := s.admit(netip.Addr{}); refused != "" {
			t.Errorf("a unix socket's client: %q", refused)
		}
	}
}

// TestSourcesThatAreGoneAreForgotten comes from very many addresses, as a botnet would.
func TestSourcesThatAreGoneAreForgotten(t *testing.T) {
	var s sources
	s.setLimits(5, 5)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	stays, _ := s.admit(addr(0))
	for i := 1; i < 3*idleSourcesMax; i++ {
		leave, refused := s.admit(addr(i))
		if refused != "" {
			t.Fatalf("source %d: %q", i, refused)
		}
		leave()
	}
	if n := len(s.known); n != idleSourcesMax+1 {
		t.Errorf("%d sources are remembered, want %d and one that is here", n, idleSourcesMax)
	}
	if s.known[addr(0)].open != 1 {
		t.Error("one that is here was forgotten")
	}
	stays()
	if s.idle.Len() != idleSourcesMax || len(s.known) != idleSourcesMax {
		t.Errorf("%d idle of %d known", s.idle.Len(), len(s.known))
	}
}
