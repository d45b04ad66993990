package grpcproxy

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// notes is a Ledger that writes everything down.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) are(want ...string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Equal(n.lines, want)
}

func (n *notes) Come(service string, client net.Addr) Account {
	n.note("%q: %s comes", service, client.(*net.TCPAddr).IP)
	return noted{n, service}
}

type noted struct {
	*notes
	service string
}

func (n noted) Spoke() { n.note("%q: spoke", n.service) }
func (n noted) Left()  { n.note("%q: left", n.service) }

func TestLedgerTellsWhoCallsWhichService(t *testing.T) {
	n := &notes{}
	o := everything(startInterop(t, listen(t)))
	o.Ledger, o.OwnServices = n, true
	o.Routes = append(o.Routes, Route{Pattern: "/grpc.testing.TestService/*", To: o.Routes[0].To})
	conn := connect(t, startProxy(t, o))
	client := testgrpc.NewTestServiceClient(conn)
	for range 2 {
		if _, err := client.EmptyCall(testContext(t), &testgrpc.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Invoke(testContext(t), "/unknown.Service/Call", &testgrpc.Empty{}, &testgrpc.Empty{}); err == nil {
		t.Error("nobody knows this service")
	}
	_ = conn.Close()
	const known, rest = `"grpc.testing.TestService": `, `"": `
	eventually(t, "the accounts are kept", func() bool {
		return n.are(known+"127.0.0.1 comes", known+"spoke", known+"spoke", rest+"127.0.0.1 comes", rest+"spoke", known+"left", rest+"left")
	})
}

func TestServiceIsNamedByThePattern(t *testing.T) {
	for pattern, want := range map[string]string{"*": "", "/a.B/*": "a.B", "/a.B/C": "a.B"} {
		if got := serviceOf(pattern); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}
