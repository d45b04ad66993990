package peers

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gateway/internal/freeport"
)

const (
	eventWait = 10 * time.Second     // for something that must happen
	fast      = 2 * time.Millisecond // between messages
	soon      = 300 * time.Millisecond
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// diary is a Report that tests can wait on.
type diary struct {
	mu     sync.Mutex
	events []Event
	grown  chan struct{} // closed and replaced with each event
}

func newDiary() *diary { return &diary{grown: make(chan struct{})} }

func (d *diary) report(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
	close(d.grown)
	d.grown = make(chan struct{})
}

func (d *diary) all() ([]Event, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events), d.grown
}

// of counts the events that match.
func (d *diary) of(match func(Event) bool) int {
	events, _ := d.all()
	n := 0
	for _, e := range events {
		if match(e) {
			n++
		}
	}
	return n
}

// await fails the test unless n events that match are there in time.
func (d *diary) await(t *testing.T, n int, what string, match func(Event) bool) {
	t.Helper()
	deadline := time.After(eventWait)
	for {
		events, grown := d.all()
		if d.of(match) >= n {
			return
		}
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("%d of %d times %s; what happened: %v", d.of(match), n, what, events)
		}
	}
}

func is(kind Kind) func(Event) bool { return func(e Event) bool { return e.Kind == kind } }

// serving starts Pull or Serve; stop ends it, at the end of the test at the latest, and checks that it ends in peace.
func serving(t *testing.T, serve func(context.Context, net.Listener, string, Report) error, address, name string, report Report) (at string, stop func()) {
	t.Helper()
	l, err := Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l, name, report) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// running starts Push or Call; stop ends it and returns its error.
func running(send func(context.Context, Client, Report) error, c Client, report Report) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- send(ctx, c, report) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
}

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	return freeport.Keep(t)
}

// closing is an address that accepts connections and closes them.
func closing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}
