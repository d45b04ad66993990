package dial

import (
	"fmt"
	"strconv"
	"testing"
)

// selfDials are enough for the kernel to go once through the ports from which it chooses the near end's.
const selfDials = 30_000

// Where nobody listens on a port that the kernel may also give to whoever dials, a dial can meet itself: a relay to the
// gateway's own socket, instead of a refusal.
func TestDialDoesNotMeetItself(t *testing.T) {
	free, err := strconv.Atoi(port(t, closedPort(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []int{free, free ^ 1} { // the kernel prefers odd ports for the one purpose, even ones for the other
		target := newBackend(t, Options{Targets: []string{fmt.Sprintf("tcp://127.0.0.1:%d", port)}}).listed[0]
		for range selfDials {
			if c, ok := target.tryConnect(); ok {
				t.Fatalf("connected from %v to %v", c.LocalAddr(), c.RemoteAddr())
			}
		}
	}
}
