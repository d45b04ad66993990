package dial

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// selfDials are enough for the kernel to go once through the ports from which it chooses the near end's.
const selfDials = 30_000

// Where nobody listens on a port that the kernel may also give to whoever dials, a dial can meet itself: a relay to the
// gateway's own socket, instead of a refusal.
func TestDialDoesNotMeetItself(t *testing.T) {
	// Others may get the port meanwhile. Other tests, which would not expect this client, listen at 127.0.0.1.
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	free := l.Addr().(*net.TCPAddr).Port
	for _, port := range []int{free, free ^ 1} { // the kernel prefers odd ports for the one purpose, even ones for the other
		target := newBackend(t, Options{Targets: []string{fmt.Sprintf("tcp://[::1]:%d", port)}}).listed[0]
		for range selfDials {
			c, _ := target.tryConnect()
			if c == nil {
				continue
			}
			from, to := c.LocalAddr().String(), c.RemoteAddr().String()
			c.Close()
			if from == to {
				t.Fatalf("connected from %v to %v", from, to)
			}
		}
	}
}

// A target that was away, or whose backlog was full, is connected to at once again when it can be.
func TestTargetThatWasAwayIsConnectedToAtOnceAgain(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "worker.sock")
	b := newBackend(t, Options{Targets: []string{"unix://" + at}})
	atOnce := func() bool {
		c, target := b.tryDial()
		if c == nil {
			return false
		}
		c.Close()
		target.Release()
		return true
	}
	if atOnce() {
		t.Fatal("connected to nobody")
	}
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !atOnce() {
		t.Error("a target that was away once is not connected to at once any more")
	}
	target := b.listed[0]
	target.slowUntil = b.now() + time.Millisecond // as if it had to be waited for
	eventually(t, "the pause is over", atOnce)
	if !target.near.Load() {
		t.Error("it has answered at once, and nobody knows")
	}
}
