package gateway

import (
	"net/netip"
	"slices"
	"testing"

	"gateway/internal/zmtp"
)

func source(s string) netip.Addr { return netip.MustParseAddr(s) }

func percent(p float64) *float64 { return &p }

func TestFirstBlockInFileOrderThatFitsTakesTheConnection(t *testing.T) {
	table := &Table{GRPC: true, Relays: []Block{
		{Name: "inner", Match: Match{Protocol: "zmtp", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		{Name: "door2", Match: Match{Protocol: "zmtp", Listeners: []string{"second"}}},
		{Name: "none", Match: Match{Protocol: "zmtp", Percent: percent(0)}},
		{Name: "rest", Match: Match{Protocol: "zmtp"}},
		{Name: "ssh", Match: Match{Protocol: "ssh"}},
	}}
	for _, c := range []struct {
		protocol, listener string
		from               netip.Addr
		block, server      string
	}{
		{"zmtp", "public", source("10.1.2.3"), "inner", ""},
		{"zmtp", "second", source("10.1.2.3"), "inner", ""},
		{"zmtp", "second", source("192.0.2.1"), "door2", ""},
		{"zmtp", "public", source("192.0.2.1"), "rest", ""},
		{"zmtp", "public", source("2001:db8::1"), "rest", ""},
		{"zmtp", "public", netip.Addr{}, "rest", ""},
		{"ssh", "public", source("192.0.2.1"), "ssh", ""},
		{"http2", "public", source("192.0.2.1"), "", ServerGRPC},
		{"http1", "public", source("192.0.2.1"), "", ServerHTTP},
		{"tls", "public", source("192.0.2.1"), "", ""},
	} {
		choice, _, _ := table.Choose(&Facts{Protocol: c.protocol, Listener: c.listener, Source: c.from}, 0)
		name := ""
		if choice.Block != nil {
			name = choice.Block.Name
		}
		if name != c.block || choice.Server != c.server {
			t.Errorf("%s on %s from %v: block %q server %q, want %q %q", c.protocol, c.listener, c.from, name, choice.Server, c.block, c.server)
		}
	}
}

func TestAnyTakesEveryProtocolBeforeTheServers(t *testing.T) {
	table := &Table{GRPC: true, Relays: []Block{{Name: "all", Match: Match{Protocol: AnyProtocol}}}}
	for _, p := range []string{"zmtp", "http1", "http2", "tls", "ssh"} {
		if c, _, _ := table.Choose(&Facts{Protocol: p}, 0); c.Block == nil {
			t.Errorf("%s was not taken", p)
		}
	}
}

func TestRaisingPercentMovesNobodyBackAndKeepsItsPromise(t *testing.T) {
	const sources = 20000
	taken := func(p float64) (set map[netip.Addr]bool) {
		set = map[netip.Addr]bool{}
		m := Match{Percent: percent(p)}
		for i := range sources {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			if m.Test(&Facts{Source: a}) == Fits {
				set[a] = true
			}
		}
		return set
	}
	var before map[netip.Addr]bool
	for _, p := range []float64{0, 0.5, 1, 10, 50, 99, 100} {
		now := taken(p)
		for a := range before {
			if !now[a] {
				t.Fatalf("at %g percent %v fell out again", p, a)
			}
		}
		if want := sources * p / 100; float64(len(now)) < want*0.9-20 || float64(len(now)) > want*1.1+20 {
			t.Errorf("%g percent took %d of %d sources", p, len(now), sources)
		}
		before = now
	}
}

func TestExplainNamesEachBlockThatDidNotFit(t *testing.T) {
	table := &Table{Relays: []Block{
		{Name: "ssh", Match: Match{Protocol: "ssh"}},
		{Name: "door2", Match: Match{Listeners: []string{"second", "third"}}},
		{Name: "near", Match: Match{Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		{Name: "canary", Match: Match{Percent: percent(0)}},
		{Name: "rest"},
	}}
	choice, considered := table.Explain(&Facts{Protocol: "zmtp", Listener: "public", Source: source("192.0.2.1")})
	if choice.Block == nil || choice.Block.Name != "rest" {
		t.Fatalf("chosen: %+v", choice)
	}
	want := []Considered{
		{"ssh", OtherProtocol, "it takes protocol ssh"},
		{"door2", OtherListener, "it takes listener second, third"},
		{"near", OtherSource, "the client's address is in none of its networks"},
		{"canary", OutsidePercent, "the client is outside its 0 percent of sources"},
	}
	if !slices.Equal(considered, want) {
		t.Errorf("considered:\n%+v\nwant:\n%+v", considered, want)
	}
}

func TestChoosingAllocatesNothing(t *testing.T) {
	table := &Table{Relays: []Block{{Match: Match{Protocol: "ssh"}}, {Match: Match{Percent: percent(0)}}, {Match: Match{Protocol: "zmtp"}}}}
	f := &Facts{Protocol: "zmtp", Source: source("192.0.2.1")}
	if n := testing.AllocsPerRun(100, func() { table.Choose(f, 0) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLadderIsClimbedOnlyAsFarAsABlockNeeds(t *testing.T) {
	table := &Table{Relays: []Block{
		{Name: "far", Match: Match{Protocol: "zmtp", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Mechanisms: []zmtp.Mechanism{"CURVE"}}},
		{Name: "vault", Match: Match{Protocol: "zmtp", Mechanisms: []zmtp.Mechanism{"CURVE", "PLAIN"}}},
		{Name: "push", Match: Match{Protocol: "zmtp", SocketTypes: []zmtp.SocketType{"PUSH"}}},
		{Name: "legacy", Match: Match{Protocol: "zmtp", Identity: "legacy-"}},
	}}
	f := Facts{Protocol: "zmtp", Source: source("192.0.2.1")}
	for _, c := range []struct {
		name  string
		learn func()
		block string
		more  Fit
		next  int
	}{
		{"nothing known", func() {}, "", NeedsGreeting, 1},
		{"CURVE", func() { f.Level, f.Mechanism = Greeted, "CURVE" }, "vault", Fits, 1},
		{"an unknown mechanism", func() { f.Mechanism = "GSSAPI" }, "", Fits, 4},
		{"ZMTP 2", func() { f.Mechanism = "" }, "", Fits, 4},
		{"NULL", func() { f.Mechanism = "NULL" }, "", NeedsIntroduction, 2},
		{"NULL PUSH", func() { f.Level, f.SocketType = Introduced, "PUSH" }, "push", Fits, 2},
		{"NULL REQ", func() { f.SocketType = "REQ" }, "", Fits, 4},
		{"NULL REQ with an identity", func() { f.Identity = "legacy-7" }, "legacy", Fits, 3},
	} {
		c.learn()
		choice, more, next := table.Choose(&f, 0)
		name := ""
		if choice.Block != nil {
			name = choice.Block.Name
		}
		if name != c.block || more != c.more || next != c.next {
			t.Errorf("%s: block %q, more %d, next %d; want %q, %d, %d", c.name, name, more, next, c.block, c.more, c.next)
		}
	}
}
