package relay

import "time"

// How the ends of pairs are reported. Each report starts a goroutine, as whoever is told may block, and that wakes an idle
// thread: for one pair at a time it would cost a good part of a short connection. Its rules:
//
//   - Both connections are closed at once. Only the report is late, by reportEvery at most.
//   - It is late only while the loop watches a door. When accepting has to wait (for a slot, say) or has ended (a stop, a
//     drain) no door is watched, and nothing that an end gives back may be kept.
//   - Whoever takes the list of those that have ended reports all that are in it.
const (
	reportEvery = 10 * time.Millisecond
	endedMax    = 64 // that wait for their report
)

// ending is a pair that has ended, not yet reported.
type ending struct {
	pair *pair
	at   time.Duration // on the loops' clock
}

// lateness is what a loop remembers of the ends that it has not reported.
type lateness struct {
	ends  int
	since time.Duration // when the first was
}

func (l *lateness) add(at time.Duration) {
	if l.ends == 0 {
		l.since = at
	}
	l.ends++
}

// due tells whether to report now.
func (l *lateness) due(now time.Duration) bool {
	return l.ends >= endedMax || l.ends > 0 && now-l.since >= reportEvery
}

// left bounds a wait, in milliseconds or for ever (-1), by the time that is left until the report.
func (l *lateness) left(now time.Duration, milliseconds int) int {
	left := int(max(0, l.since+reportEvery-now+time.Millisecond-1) / time.Millisecond)
	if milliseconds < 0 {
		return left
	}
	return min(milliseconds, left)
}

// report has a goroutine report what has ended. It runs here and now, so that the scheduler's monitor need not find it beside
// a loop that waits.
func (l *loop) report(now time.Duration) {
	l.late = lateness{}
	if ended := l.takeEnded(); len(ended) > 0 {
		go finish(ended)
		l.yield(now)
	}
}

func (l *loop) takeEnded() []ending {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := l.ended
	l.ended = nil
	return ended
}

func finish(ended []ending) {
	for _, e := range ended {
		e.pair.finish(now() - e.at)
	}
}

// Report calls done for all relays that have ended and are not reported yet. It is for who is about to refuse a connection for
// want of what they give back. It returns when these calls have.
func Report() {
	loops.Lock()
	all := loops.all[:len(loops.all):len(loops.all)]
	loops.Unlock()
	for _, l := range all {
		finish(l.takeEnded())
	}
}
