package bridge

import (
	"net"
	"net/netip"
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"
)

func from(address string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
}

func TestMeterTellsWhoStillSpeaksZeroMQ(t *testing.T) {
	m := &Meter{}
	greet := m.Service("greet")
	early, late := greet.Come("zmq", from("10.0.0.1:1")), greet.Come("zmq", from("10.0.0.2:1"))
	again := greet.Come("zmq", from("10.0.0.1:2")) // another connection of the first
	unix := greet.Come("grpc", &net.UnixAddr{Net: "unix"})
	early.Spoke()
	early.Spoke()
	early.Left()
	again.Spoke()
	late.Spoke()
	unix.Undone()
	greet.called(codes.OK)
	greet.called(codes.Unavailable)
	m.Service("vault")

	all := m.Status()
	if len(all) != 2 || all[0].Service != "greet" || all[1].Service != "vault" {
		t.Fatalf("got %+v", all)
	}
	if calls := all[0].Calls; calls["OK"] != 1 || calls["Unavailable"] != 1 {
		t.Errorf("calls: %v", calls)
	}
	for i, want := range []SourceStatus{
		{Protocol: "zmq", Address: "10.0.0.2", Live: 1, Connections: 1, Messages: 1},
		{Protocol: "zmq", Address: "10.0.0.1", Live: 1, Connections: 2, Messages: 3},
		{Protocol: "grpc", Address: "unix"},
	} {
		got := all[0].Sources[i]
		if got.Last.IsZero() {
			t.Errorf("%s never spoke", got.Address)
		}
		want.Last, want.Ago = got.Last, got.Ago
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestMeterSurvivesARestart(t *testing.T) {
	before := &Meter{}
	s := before.Service("greet")
	for _, address := range []string{"10.0.0.1:1", "[fd00::1]:1"} {
		source := s.Come("zmq", from(address))
		source.Spoke()
		source.Left()
	}
	s.Come("zmq", &net.UnixAddr{Net: "unix"}).Left()
	s.called(codes.OK)
	text, err := before.Save()
	must(t, err)
	after := &Meter{}
	must(t, after.Load(text))
	want, got := before.Status(), after.Status()
	for _, all := range [][]ServiceStatus{want, got} {
		for i := range all[0].Sources {
			all[0].Sources[i].Last = all[0].Sources[i].Last.Round(0).UTC() // a saved time has no monotonic clock
			all[0].Sources[i].Ago = 0
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, broken := range []string{"", "{", `[{"service": "x", "sources": [{"address": "nowhere"}]}]`} {
		if err := new(Meter).Load([]byte(broken)); err == nil {
			t.Errorf("%q was loaded", broken)
		}
	}
}

func TestMeterForgetsWhoWasSilentForLongest(t *testing.T) {
	s := new(Meter).Service("greet")
	address := func(i int) net.Addr {
		return &net.TCPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Port: 1}
	}
	staying := s.Come("zmq", address(0))
	for i := 1; i <= sourcesMax+10; i++ {
		s.Come("zmq", address(i)).Left()
	}
	if n := len(s.sources); n != sourcesMax {
		t.Errorf("%d sources are remembered", n)
	}
	if s.sources[sourceKey{"zmq", hostOf(address(0))}] != staying || s.sources[sourceKey{"zmq", hostOf(address(1))}] != nil {
		t.Error("not the one that was silent for longest was forgotten")
	}
}

func TestNobodyKeepsAccountWithoutAMeter(t *testing.T) {
	var s *Service
	source := s.Come("zmq", from("10.0.0.1:1"))
	source.Spoke()
	source.Undone()
	source.Left()
	s.called(codes.OK)
}
