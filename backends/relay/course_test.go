package relay

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// What happens to a relay, and what becomes of it: one line each.
func TestCourses(t *testing.T) {
	broken := errors.New("broken")
	limits := Limits{Idle: time.Hour, HalfClosed: time.Minute, Drain: time.Second}
	cases := []struct {
		name   string
		events func(*course)
		phase  [2]phase
		first  Side
		reason Reason
		bound  bound
	}{
		{"nothing yet", func(*course) {}, [2]phase{flowing, flowing}, Neither, EOF, bound{after: time.Hour, reason: IdleTimeout}},
		{"client's FIN", func(c *course) { c.eof(aToB) }, [2]phase{ended, flowing}, A, EOF, bound{after: time.Minute, reason: IdleTimeout}},
		{"worker's FIN", func(c *course) { c.eof(bToA) }, [2]phase{flowing, ended}, B, EOF, bound{after: time.Minute, reason: IdleTimeout}},
		{"client breaks", func(c *course) { c.broken(aToB, broken) }, [2]phase{ended, discarding}, A, Reset, bound{after: time.Second, reason: DrainTimeout}},
		{"client refuses", func(c *course) { c.refused(bToA, broken) }, [2]phase{flowing, discarding}, A, WriteFailed, bound{after: time.Second, reason: DrainTimeout}},
		{"client resets", func(c *course) { c.refused(bToA, syscall.ECONNRESET) }, [2]phase{flowing, discarding}, A, Reset, bound{after: time.Second, reason: DrainTimeout}},
		{"the first end counts", func(c *course) { c.eof(bToA); c.broken(aToB, broken) }, [2]phase{ended, ended}, B, EOF, bound{after: time.Second}},
		{"cancelled", func(c *course) { c.cancel() }, [2]phase{flowing, flowing}, Neither, Cancelled, bound{after: flushMax, reason: Cancelled, absolute: true}},
		{"cancelled and stopped", func(c *course) { c.cancel(); c.stopped(aToB) }, [2]phase{discarding, flowing}, Neither, Cancelled, bound{after: flushMax, reason: Cancelled, absolute: true}},
		{"cancelled, then FIN", func(c *course) { c.cancel(); c.eof(aToB); c.eof(bToA) }, [2]phase{ended, ended}, Neither, Cancelled, bound{}},
		{"idle", func(c *course) { c.expire(c.bound(&limits)) }, [2]phase{ended, ended}, Neither, IdleTimeout, bound{}},
		{"drained too long", func(c *course) { c.broken(aToB, broken); c.expire(c.bound(&limits)) }, [2]phase{ended, ended}, A, DrainTimeout, bound{}},
	}
	for _, k := range cases {
		var c course
		k.events(&c)
		if c.phase != k.phase || c.first != k.first || c.reason != k.reason {
			t.Errorf("%s: phases %v, %s first, %s", k.name, c.phase, c.first, c.reason)
		}
		if (c.err == nil) != (c.reason == EOF) {
			t.Errorf("%s: reason %s, error %v", k.name, c.reason, c.err)
		}
		if got := c.bound(&limits); !c.over() && got != k.bound {
			t.Errorf("%s: bound %+v, want %+v", k.name, got, k.bound)
		}
	}
}

func TestBoundPassesAfterItsTimeWithoutBytes(t *testing.T) {
	var o lookout
	b := bound{after: 4 * time.Second}
	if interval := o.set(b, 0); interval != time.Second {
		t.Fatalf("looks every %v", interval)
	}
	for i, moved := range []int64{0, 0, 0, 7, 7, 7, 7} {
		if o.look(b, moved) {
			t.Fatalf("passed at look %d", i)
		}
	}
	if !o.look(b, 7) {
		t.Error("did not pass after four looks without bytes")
	}
	b.absolute = true
	o.set(b, 0)
	for moved := int64(1); moved < looksPerBound; moved++ {
		if o.look(b, moved) {
			t.Fatal("passed early")
		}
	}
	if !o.look(b, looksPerBound) {
		t.Error("bytes extended a bound that is absolute")
	}
}

func TestNamesInLogLines(t *testing.T) {
	s := Stats{AToB: 1, BToA: 2, First: A, Reason: DrainTimeout}
	if got, want := s.String(), "a_to_b=1 b_to_a=2 first=a reason=drain_timeout"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Neither.String() + B.String() + Side(9).String() + Reason(-1).String(); got != "neitherbside(9)reason(-1)" {
		t.Error(got)
	}
}
