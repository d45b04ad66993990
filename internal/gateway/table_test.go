package gateway

import (
	"net/netip"
	"testing"
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
		facts         Facts
		block, server string
	}{
		{Facts{"zmtp", "public", source("10.1.2.3")}, "inner", ""},
		{Facts{"zmtp", "second", source("10.1.2.3")}, "inner", ""},
		{Facts{"zmtp", "second", source("192.0.2.1")}, "door2", ""},
		{Facts{"zmtp", "public", source("192.0.2.1")}, "rest", ""},
		{Facts{"zmtp", "public", source("2001:db8::1")}, "rest", ""},
		{Facts{"zmtp", "public", netip.Addr{}}, "rest", ""},
		{Facts{"ssh", "public", source("192.0.2.1")}, "ssh", ""},
		{Facts{"http2", "public", source("192.0.2.1")}, "", ServerGRPC},
		{Facts{"http1", "public", source("192.0.2.1")}, "", ServerHTTP},
		{Facts{"tls", "public", source("192.0.2.1")}, "", ""},
	} {
		choice := table.Choose(c.facts)
		name := ""
		if choice.Block != nil {
			name = choice.Block.Name
		}
		if name != c.block || choice.Server != c.server {
			t.Errorf("%+v: block %q server %q, want %q %q", c.facts, name, choice.Server, c.block, c.server)
		}
	}
}

func TestAnyTakesEveryProtocolBeforeTheServers(t *testing.T) {
	table := &Table{GRPC: true, Relays: []Block{{Name: "all", Match: Match{Protocol: AnyProtocol}}}}
	for _, p := range []string{"zmtp", "http1", "http2", "tls", "ssh"} {
		if c := table.Choose(Facts{Protocol: p}); c.Block == nil {
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
			if m.Test(Facts{Source: a}) == Fits {
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
	choice, passed := table.Explain(Facts{Protocol: "zmtp", Listener: "public", Source: source("192.0.2.1")})
	if choice.Block == nil || choice.Block.Name != "rest" {
		t.Fatalf("chosen: %+v", choice)
	}
	want := []Passed{
		{"ssh", "it takes protocol ssh"},
		{"door2", "it takes listener second, third"},
		{"near", "the client's address is in none of its networks"},
		{"canary", "the client is outside its 0 percent of sources"},
	}
	if len(passed) != len(want) {
		t.Fatalf("passed: %+v", passed)
	}
	for i := range want {
		if passed[i] != want[i] {
			t.Errorf("passed %d: %+v, want %+v", i, passed[i], want[i])
		}
	}
}

func TestChoosingAllocatesNothing(t *testing.T) {
	table := &Table{Relays: []Block{{Match: Match{Protocol: "ssh"}}, {Match: Match{Percent: percent(0)}}, {Match: Match{Protocol: "zmtp"}}}}
	f := Facts{Protocol: "zmtp", Source: source("192.0.2.1")}
	if n := testing.AllocsPerRun(100, func() { table.Choose(f) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
