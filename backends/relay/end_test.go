package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

const (
	shortLimit = 200 * time.Millisecond // for what must be cut
	busyLimit  = 500 * time.Millisecond // for what must not, on a busy machine

	// underWayBytes when the client closes: few, for a unix socket takes more only once it is three quarters empty, and counts
	// the memory of the pieces.
	underWayBytes = 8 << 10
)

func testAnswerAfterClientsFINArrives(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	say(t, c.client, []byte("question"))
	c.client.CloseWrite()
	got, err := io.ReadAll(c.worker)
	if err != nil || string(got) != "question" {
		t.Fatalf("worker got %q, error %v", got, err)
	}
	answer := noise(1, 1<<20)
	go func() { c.worker.Write(answer); c.worker.Close() }()
	if got, err := io.ReadAll(c.client); err != nil || !bytes.Equal(got, answer) {
		t.Fatalf("client got %d bytes, error %v", len(got), err)
	}
	c.wantEnd(t, A, EOF)
}

func testRequestAfterWorkersFINArrives(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	c.worker.CloseWrite()
	wantEOF(t, c.client)
	say(t, c.client, []byte("still here"))
	want(t, c.worker, []byte("still here"))
	c.client.Close()
	wantEOF(t, c.worker)
	c.wantEnd(t, B, EOF)
}

// reset closes a connection so that its peer gets an RST at once (on unix sockets: the nearest thing, a close with
// unread bytes).
func reset(t *testing.T, c net.Conn) {
	t.Helper()
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

func testLastBytesOfResetClientArrive(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	say(t, c.client, []byte("last words"))
	want(t, c.worker, []byte("last"))
	say(t, c.worker, []byte("unread"))
	eventually(t, "the answer is delivered", func() bool { return s.group.Snapshot(1)[0].BToA == int64(len("unread")) })
	reset(t, c.client)
	want(t, c.worker, []byte(" words"))
	wantEOF(t, c.worker)
	c.worker.Close()
	r := c.wantEnd(t, A, Reset)
	if r.stats.AToB != int64(len("last words")) {
		t.Errorf("counted %v", r.stats)
	}
}

func testClientOfDeadWorkerGetsItsLastBytes(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	say(t, c.worker, []byte("answer"))
	c.worker.Close()
	want(t, c.client, []byte("answer"))
	wantEOF(t, c.client)
	// The client goes on sending for a while: nobody may reset it for that before it closes.
	for range 100 {
		say(t, c.client, []byte("more"))
	}
	c.client.Close()
	c.wantEnd(t, B, EOF, Reset, WriteFailed)
}

// The closing table of libzmq, in raw bytes: the client closes with its receive buffer full; the worker is a peer that
// drops what it has not read as soon as a write fails, so no write of its may fail before it has read all.
func testClosingWithFullReversePath(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	workerWrites := make(chan error, 1)
	go func() {
		for chunk := noise(1, 20_000); ; {
			if _, err := c.worker.Write(chunk); err != nil {
				workerWrites <- err
				return
			}
		}
	}()
	sent := noise(2, 6<<20)
	written := make(chan struct{})
	go func() { c.client.Write(sent); close(written) }()

	// The worker leaves unread what fits the buffers on its way, and the client closes when nothing is left on its machine.
	got := make([]byte, len(sent)-underWayBytes)
	if _, err := io.ReadFull(c.worker, got); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all has left the client", func() bool { return gone(written, c.client) })
	c.client.Close()

	rest, err := io.ReadAll(c.worker)
	if err != nil {
		t.Fatalf("after %d of %d bytes: %v", len(got)+len(rest), len(sent), err)
	}
	if !bytes.Equal(append(got, rest...), sent) {
		t.Fatalf("worker got %d of %d bytes", len(got)+len(rest), len(sent))
	}
	select {
	case err := <-workerWrites:
		t.Fatalf("the worker's write failed before it had closed: %v", err)
	default:
	}
	c.worker.Close()
	c.wantEnd(t, A, EOF, Reset, WriteFailed) // of a unix socket, the way back may have taken the error first
	<-workerWrites
}

// gone tells whether all was written and has left the connection's send buffer.
func gone(written <-chan struct{}, c net.Conn) bool {
	select {
	case <-written:
		return unsent(c) == 0
	default:
		return false
	}
}

func testWorkerThatIgnoresTheEndIsCut(t *testing.T, s *scene) {
	c := s.cast(t, Limits{Drain: shortLimit})
	say(t, c.worker, []byte("unread"))
	eventually(t, "the bytes are delivered", func() bool { return s.group.Snapshot(1)[0].BToA > 0 })
	reset(t, c.client)
	c.wantCut(t, A, DrainTimeout)
}

func testWorkerThatFloodsAfterTheEndIsCut(t *testing.T, s *scene) {
	c := s.cast(t, Limits{Drain: shortLimit})
	flooded := make(chan struct{})
	go func() {
		for chunk := noise(1, 20_000); ; {
			if _, err := c.worker.Write(chunk); err != nil {
				close(flooded)
				return
			}
		}
	}()
	want(t, c.client, noise(1, 20_000))
	c.client.Close()
	c.wantCut(t, A, DrainTimeout)
	<-flooded
}

func testSilentPairIsCutAfterIdle(t *testing.T, s *scene) {
	client, a := s.connect(t)
	worker, b := s.connect(t)
	say(t, client, []byte("x"))
	start := time.Now()
	c := s.start(client, worker, a, b, Limits{Idle: shortLimit})
	want(t, c.worker, []byte("x"))
	c.wantCut(t, Neither, IdleTimeout)
	if took := time.Since(start); took < shortLimit*3/4 {
		t.Errorf("cut after %v", took)
	}
	wantEOF(t, c.worker)
	wantEOF(t, c.client)
}

func testBusyPairOutlivesIdle(t *testing.T, s *scene) {
	var c *cast
	for start := time.Now(); c == nil; { // it says nothing where this test got no processor for a while
		if time.Since(start) > patience {
			t.Fatal("the machine is too busy to keep a pair busy")
		}
		c = s.keptBusy(t)
	}
	c.client.Close()
	wantEOF(t, c.worker)
	c.worker.Close()
	c.wantEnd(t, A, EOF)
}

// keptBusy is a relay that has moved bytes all the time, for longer than it may be idle; nil: there was a pause.
func (s *scene) keptBusy(t *testing.T) *cast {
	t.Helper()
	c := s.cast(t, Limits{Idle: busyLimit})
	got := make([]byte, 1)
	start := time.Now()
	for last := start; last.Sub(start) < busyLimit*3/2; {
		_, errWrite := c.client.Write([]byte("x"))
		_, errRead := io.ReadFull(c.worker, got)
		paused := time.Since(last) > busyLimit/2
		last = time.Now()
		switch err := errors.Join(errWrite, errRead); {
		case paused:
			c.client.Close()
			c.worker.Close()
			c.end(t)
			return nil
		case err != nil:
			t.Fatal(err)
		}
		<-time.After(busyLimit / 20)
	}
	return c
}

func testSilenceAfterHalfCloseIsBounded(t *testing.T, s *scene) {
	c := s.cast(t, Limits{HalfClosed: shortLimit})
	c.client.CloseWrite()
	wantEOF(t, c.worker)
	c.wantCut(t, A, IdleTimeout)
}

func testLiveRelaysAreCounted(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	say(t, c.client, []byte("12345"))
	want(t, c.worker, []byte("12345"))
	eventually(t, "the bytes are counted", func() bool {
		all := s.group.Snapshot(10)
		return len(all) == 1 && all[0].AToB == 5 && all[0].BToA == 0
	})
	if all := s.group.Snapshot(10); all[0].A.String() != c.client.LocalAddr().String() || all[0].B.String() != c.worker.LocalAddr().String() {
		t.Errorf("peers %v and %v", all[0].A, all[0].B)
	}
	if live := s.group.Live(); live != 1 {
		t.Errorf("%d live", live)
	}
	if all := s.group.Snapshot(0); len(all) != 0 {
		t.Errorf("limit 0 gave %d", len(all))
	}
	c.client.Close()
	c.worker.Close()
	c.end(t)
	eventually(t, "the group is empty", func() bool { return s.group.Live() == 0 && len(s.group.Snapshot(10)) == 0 })
}

func testShutdownWaitsForTheEnd(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	cut := make(chan int, 1)
	go func() { cut <- s.group.Shutdown(t.Context()) }()
	say(t, c.client, []byte("still served"))
	want(t, c.worker, []byte("still served"))
	c.client.Close()
	wantEOF(t, c.worker)
	c.worker.Close()
	c.wantEnd(t, A, EOF)
	if n := <-cut; n != 0 {
		t.Errorf("%d cut, want none", n)
	}
}

func testShutdownDeliversWhatWasRead(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	say(t, c.client, []byte("to be delivered"))
	want(t, c.worker, []byte("to be"))
	start := time.Now()
	cut := make(chan int, 1)
	go func() { cut <- s.group.Shutdown(done()) }()
	want(t, c.worker, []byte(" delivered"))
	wantEOF(t, c.worker)
	wantEOF(t, c.client)
	if took := time.Since(start); took > flushMax*3/4 {
		t.Errorf("FIN came after %v, when the time for it was over", took)
	}
	c.client.Close()
	c.worker.Close()
	if n := <-cut; n != 1 {
		t.Errorf("%d cut, want 1", n)
	}
	c.wantCut(t, Neither, Cancelled)
}

func testShutdownDoesNotWaitForStalledPeer(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	stalled := make(chan struct{})
	go func() {
		defer close(stalled)
		c.client.Write(noise(1, stallBytesMax))
	}()
	eventually(t, "bytes flow", func() bool { return s.group.Snapshot(1)[0].AToB > 0 })
	if n := s.group.Shutdown(done()); n != 1 {
		t.Errorf("%d cut, want 1", n)
	}
	c.wantCut(t, Neither, Cancelled)
	<-stalled
}

func testRelayAfterShutdownIsCut(t *testing.T, s *scene) {
	if n := s.group.Shutdown(done()); n != 0 {
		t.Errorf("%d cut in an empty group", n)
	}
	c := s.cast(t, Limits{})
	wantEOF(t, c.client)
	wantEOF(t, c.worker)
	c.client.Close()
	c.worker.Close()
	c.wantCut(t, Neither, Cancelled)
}

// The error tells what had happened before the cut.
func TestCutTellsHowTheFirstSideEnded(t *testing.T) {
	cause := errors.New("broken")
	var c course
	c.broken(aToB, cause)
	limits := Limits{}.withDefaults()
	c.expire(c.bound(&limits))
	if !errors.Is(c.err, cause) || c.reason != DrainTimeout || c.first != A {
		t.Errorf("%v, %v, %v", c.first, c.reason, c.err)
	}
}
