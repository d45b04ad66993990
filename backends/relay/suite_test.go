package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds every wait of these tests; it is reached only when something hangs.
const patience = 10 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleakOptions()...)
}

// Both engines must pass the one suite: the portable one, and the one that Relay chooses for raw sockets.
func TestPortableEngine(t *testing.T) {
	suite(t, func() *Group { return &Group{portableOnly: true} })
}

func TestEngineOfChoice(t *testing.T) {
	suite(t, func() *Group { return &Group{} })
}

func suite(t *testing.T, newGroup func() *Group) {
	type testCase struct {
		name string
		run  func(*testing.T, *scene)
	}
	cases := []testCase{
		{"EchoComesBack", testEchoComesBack},
		{"BytesWrittenOneByOneArrive", testBytesWrittenOneByOneArrive},
		{"BulkBothWaysIsIdentical", testBulkBothWaysIsIdentical},
		{"WhatWasReadAheadComesFirst", testWhatWasReadAheadComesFirst},
		{"WhatWasReadAheadMayBeOverwritten", testWhatWasReadAheadMayBeOverwritten},
		{"AnswerAfterClientsFINArrives", testAnswerAfterClientsFINArrives},
		{"RequestAfterWorkersFINArrives", testRequestAfterWorkersFINArrives},
		{"LastBytesOfResetClientArrive", testLastBytesOfResetClientArrive},
		{"ClientOfDeadWorkerGetsItsLastBytes", testClientOfDeadWorkerGetsItsLastBytes},
		{"ClientThatClosesWithFullReversePathLosesNothing", testClosingWithFullReversePath},
		{"SlowReaderSlowsTheWriter", testSlowReaderSlowsTheWriter},
		{"ManyPairsDoNotMixBytes", testManyPairsDoNotMixBytes},
		{"PeersGoneBeforeTheStartEndTheRelay", testPeersGoneBeforeTheStart},
		{"LiveRelaysAreCounted", testLiveRelaysAreCounted},
		{"ShutdownWaitsForTheEnd", testShutdownWaitsForTheEnd},
		{"ShutdownDeliversWhatWasRead", testShutdownDeliversWhatWasRead},
		{"RelayAfterShutdownIsCut", testRelayAfterShutdownIsCut},
		{"ShutdownMeetsRelaysThatStart", testShutdownMeetsRelaysThatStart},
	}
	timed := []testCase{ // what waits for a limit: the network makes no difference
		{"WorkerThatIgnoresTheEndIsCut", testWorkerThatIgnoresTheEndIsCut},
		{"WorkerThatFloodsAfterTheEndIsCut", testWorkerThatFloodsAfterTheEndIsCut},
		{"SilentPairIsCutAfterIdle", testSilentPairIsCutAfterIdle},
		{"BusyPairOutlivesIdle", testBusyPairOutlivesIdle},
		{"SilenceAfterHalfCloseIsBounded", testSilenceAfterHalfCloseIsBounded},
		{"ShutdownDoesNotWaitForStalledPeer", testShutdownDoesNotWaitForStalledPeer},
	}
	networks := map[string][]testCase{"tcp": append(timed, cases...), "unix": cases}
	for network, cases := range networks {
		for _, c := range cases {
			t.Run(network+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, &scene{group: newGroup(), network: network})
			})
		}
	}
}

// scene is what a test of the suite plays in.
type scene struct {
	group   *Group
	network string // "tcp" or "unix"
}

// cast is one relay with both its peers.
type cast struct {
	client, worker halfCloser // the peers; the relay's a is the client's connection
	ended          chan result
}

type result struct {
	stats Stats
	err   error
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// readAhead is a connection of which some bytes were read before the relay.
type readAhead struct {
	net.Conn
	prefix []byte
}

func (r *readAhead) Detach() ([]byte, net.Conn) { return r.prefix, r.Conn }

// cast starts a relay between two new connections.
func (s *scene) cast(t *testing.T, limits Limits) *cast {
	t.Helper()
	client, a := s.connect(t)
	worker, b := s.connect(t)
	return s.start(client, worker, a, b, limits)
}

func (s *scene) start(client, worker halfCloser, a, b net.Conn, limits Limits) *cast {
	c := &cast{client: client, worker: worker, ended: make(chan result, 1)}
	s.group.Relay(a, b, limits, func(stats Stats, err error) { c.ended <- result{stats, err} })
	return c
}

// connect gives a peer's connection and the gateway's end of it.
func (s *scene) connect(t *testing.T) (peer, ours halfCloser) {
	t.Helper()
	address := "127.0.0.1:0"
	if s.network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	listener, err := net.Listen(s.network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p, err := net.Dial(s.network, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{p, o} {
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(3 * patience))
	}
	o.SetDeadline(time.Time{})
	return p.(halfCloser), o.(halfCloser)
}

// end waits until the relay has ended, and tells how.
func (c *cast) end(t *testing.T) result {
	t.Helper()
	select {
	case r := <-c.ended:
		return r
	case <-time.After(patience):
		t.Fatal("the relay did not end")
		return result{}
	}
}

// wantEnd checks how the relay ended.
func (c *cast) wantEnd(t *testing.T, first Side, reasons ...Reason) result {
	t.Helper()
	r := c.end(t)
	if r.stats.First != first {
		t.Errorf("%s ended first, want %s (%v, error %v)", r.stats.First, first, r.stats, r.err)
	}
	fits := false
	for _, reason := range reasons {
		fits = fits || r.stats.Reason == reason
	}
	if !fits {
		t.Errorf("reason %s, want one of %v (error %v)", r.stats.Reason, reasons, r.err)
	}
	if (r.err == nil) != (r.stats.Reason == EOF) {
		t.Errorf("reason %s with error %v: exactly an EOF has none", r.stats.Reason, r.err)
	}
	return r
}

// wantCut checks that the relay was cut with a typed error.
func (c *cast) wantCut(t *testing.T, first Side, reason Reason) {
	t.Helper()
	r := c.wantEnd(t, first, reason)
	var cut *CutError
	if !errors.As(r.err, &cut) || cut.Reason != reason {
		t.Errorf("error %v, want a CutError with reason %s", r.err, reason)
	}
}

func say(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// want reads exactly what was sent.
func want(t *testing.T, c net.Conn, sent []byte) {
	t.Helper()
	got := make([]byte, len(sent))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read %d of %d bytes: %v", n, len(sent), err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatalf("got other bytes than were sent (%d)", len(sent))
	}
}

// wantEOF reads a clean end.
func wantEOF(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes, error %v, want EOF", n, err)
	}
}

// noise is n bytes that differ from those of another seed everywhere.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// done is a context that is over.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
