package relay

import (
	"testing"
	"time"
)

// endBehindDoor plays a relay to its end, while connections are accepted on the loops.
func endBehindDoor(t *testing.T) (s *scene, c *cast) {
	t.Helper()
	_, _, stop := watched(t, true)
	t.Cleanup(stop)
	s = &scene{group: new(Group), network: "tcp"}
	c = s.cast(t, Limits{})
	c.client.CloseWrite()
	wantEOF(t, c.worker)
	c.worker.Close()
	wantEOF(t, c.client)
	return s, c
}

// Each report wakes a thread: where many connections come and go ends are reported together.
func TestEndIsReportedALittleLate(t *testing.T) {
	eventually(t, "an end is reported late", func() bool { // a pair may be on a loop that watches no door, where there are many
		_, c := endBehindDoor(t)
		return c.wantEnd(t, A, EOF).stats.Ago >= reportEvery/2
	})
}

// Who needs what an end gives back has it at once, and no end is reported twice.
func TestEndIsReportedOnDemand(t *testing.T) {
	for range 20 {
		s, c := endBehindDoor(t)
		for s.group.Live() > 0 {
			Report()
		}
		c.wantEnd(t, A, EOF)
		select {
		case <-c.ended:
			t.Error("it was reported twice")
		case <-time.After(2 * reportEvery):
		}
	}
}

// Where accepting has to wait, for what an end gives back perhaps, no report is put off.
func TestEndIsReportedAtOnceWhereNobodyAccepts(t *testing.T) {
	_, _, stop := watched(t, true)
	stop()
	eventually(t, "a report is not late", func() bool { // on a busy machine one may be
		c := (&scene{group: new(Group), network: "tcp"}).cast(t, Limits{})
		c.client.Close()
		wantEOF(t, c.worker)
		c.worker.Close()
		return c.end(t).stats.Ago < reportEvery/2
	})
}

// Ends are due together: when the first has waited, or when they are many.
func TestEndsAreDueByTimeOrByNumber(t *testing.T) {
	var l lateness
	if l.due(time.Hour) {
		t.Error("nothing is due")
	}
	l.add(time.Second)
	if left := l.left(time.Second, -1); l.due(time.Second) || left != int(reportEvery/time.Millisecond) {
		t.Errorf("%d ms are left", left)
	}
	if !l.due(time.Second + reportEvery) {
		t.Error("not due by its time")
	}
	for range endedMax {
		l.add(time.Second)
	}
	if !l.due(time.Second) {
		t.Error("not due by their number")
	}
}
