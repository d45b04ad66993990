package pair

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestSourceIsLetThroughAfterAPauseThatDoubles(t *testing.T) {
	var s sources
	a := netip.MustParseAddr("192.0.2.1")
	now := time.Hour
	for range failuresFree {
		s.fail(a, now)
	}
	if s.failing(a, now) {
		t.Error("held after failures that are free")
	}
	for i := range 10 {
		s.fail(a, now)
		want := min(pauseMin<<i, pauseMax)
		if !s.failing(a, now+want-1) || s.failing(a, now+want) {
			t.Errorf("failure %d: not held for %v", i, want)
		}
		now += want
	}
	for range 100 {
		s.fail(a, now)
	}
	if !s.failing(a, now+pauseMax-1) || s.failing(a, now+pauseMax) {
		t.Error("the pause is not bounded")
	}
}

func TestSourceWithASuccessInTheLastMinuteIsNeverHeld(t *testing.T) {
	var s sources
	a := netip.MustParseAddr("192.0.2.1")
	now := time.Hour
	s.succeed(a, now)
	for range 20 {
		s.fail(a, now+time.Hour)
	}
	if s.failing(a, now+time.Hour) {
		t.Error("held while a pair of its is open")
	}
	s.ended(a, now+time.Hour)
	if s.failing(a, now+time.Hour+trustFor-1) {
		t.Error("held within a minute after a success")
	}
	s.fail(a, now+2*time.Hour)
	if !s.failing(a, now+2*time.Hour) {
		t.Error("a success is remembered for ever")
	}
}

func TestOneBadSourceHarmsNoOther(t *testing.T) {
	var s sources
	bad := netip.MustParseAddr("2001:db8:0:1::1")
	for range failuresFree + 1 {
		s.fail(bad, time.Hour)
	}
	for addr, held := range map[string]bool{
		"2001:db8:0:1::2": true, // another address of the same machine
		"2001:db8:0:2::1": false,
		"192.0.2.1":       false,
	} {
		if got := s.failing(netip.MustParseAddr(addr), time.Hour); got != held {
			t.Errorf("%s held: %v", addr, got)
		}
	}
	if s.failing(netip.Addr{}, time.Hour) {
		t.Error("unix clients are held")
	}
}

func TestSourcesAreBounded(t *testing.T) {
	var s sources
	for i := range sourcesMax + 100 {
		s.fail(netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)), time.Hour)
	}
	if len(s.entries) != sourcesMax || s.recent.Len() != sourcesMax {
		t.Errorf("%d sources are remembered", len(s.entries))
	}
}
