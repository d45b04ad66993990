package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

const (
	bulkBytes   = 8 << 20
	singleBytes = 2000 // written one by one
	pairCount   = 40
	pairBytes   = 100_000

	stallWait = 400 * time.Millisecond // a writer that is held up longer than that is stalled

	// stallBytesMax is more than the kernel's socket buffers of both connections hold together.
	stallBytesMax = 48 << 20
)

func testEchoComesBack(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	for range 100 {
		say(t, c.client, []byte("ping"))
		want(t, c.worker, []byte("ping"))
		say(t, c.worker, []byte("answer"))
		want(t, c.client, []byte("answer"))
	}
	c.client.Close()
	wantEOF(t, c.worker)
	c.worker.Close()
	r := c.wantEnd(t, A, EOF)
	if r.stats.AToB != 400 || r.stats.BToA != 600 {
		t.Errorf("counted %v", r.stats)
	}
}

func testBytesWrittenOneByOneArrive(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	sent := noise(1, singleBytes)
	go func() {
		for i := range sent {
			c.client.Write(sent[i : i+1])
		}
	}()
	want(t, c.worker, sent)
}

func testBulkBothWaysIsIdentical(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	request, answer := noise(1, bulkBytes), noise(2, bulkBytes)
	var all sync.WaitGroup
	all.Go(func() { c.client.Write(request); c.client.CloseWrite() })
	all.Go(func() { c.worker.Write(answer); c.worker.CloseWrite() })
	all.Go(func() {
		if got, err := io.ReadAll(c.worker); err != nil || !bytes.Equal(got, request) {
			t.Errorf("worker got %d bytes, error %v", len(got), err)
		}
	})
	all.Go(func() {
		if got, err := io.ReadAll(c.client); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("client got %d bytes, error %v", len(got), err)
		}
	})
	all.Wait()
	if r := c.end(t); r.stats.AToB != bulkBytes || r.stats.BToA != bulkBytes || r.err != nil {
		t.Errorf("ended with %v, error %v", r.stats, r.err)
	}
}

func testWhatWasReadAheadComesFirst(t *testing.T, s *scene) {
	client, a := s.connect(t)
	worker, b := s.connect(t)
	say(t, client, []byte("client"))
	say(t, worker, []byte("worker"))
	ahead := noise(3, 200_000) // more than a buffer of either engine
	nested := &readAhead{&readAhead{a, ahead}, []byte("outer ")}
	c := s.start(client, worker, nested, &readAhead{b, []byte("hello ")}, Limits{})
	want(t, worker, append([]byte("outer "), append(ahead, "client"...)...))
	want(t, client, []byte("hello worker"))
	client.Close()
	worker.Close()
	if r := c.end(t); r.stats.AToB != int64(len("outer client")+len(ahead)) || r.stats.BToA != int64(len("hello worker")) {
		t.Errorf("counted %v", r.stats)
	}
}

// The memory of what was read ahead is its owner's again as soon as the relay has started, whether it was delivered by then or not.
func testWhatWasReadAheadMayBeOverwritten(t *testing.T, s *scene) {
	client, a := s.connect(t)
	worker, b := s.connect(t)
	ahead := noise(5, overwrittenBytes)
	memory := append([]byte(nil), ahead...)
	c := s.start(client, worker, &readAhead{a, memory}, b, Limits{})
	clear(memory)
	want(t, worker, ahead)
	client.Close()
	worker.Close()
	c.end(t)
}

// overwrittenBytes is more than a socket takes at once.
const overwrittenBytes = 16 << 20

func testSlowReaderSlowsTheWriter(t *testing.T, s *scene) {
	c := s.cast(t, Limits{})
	sent := noise(4, stallBytesMax)
	c.client.SetWriteDeadline(time.Now().Add(stallWait))
	n, err := c.client.Write(sent)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were taken though nobody reads, error %v", n, err)
	}
	c.client.CloseWrite()
	got, err := io.ReadAll(c.worker)
	if err != nil || !bytes.Equal(got, sent[:n]) {
		t.Fatalf("worker got %d of %d bytes, error %v", len(got), n, err)
	}
}

func testManyPairsDoNotMixBytes(t *testing.T, s *scene) {
	var all sync.WaitGroup
	for i := range pairCount {
		c := s.cast(t, Limits{Idle: time.Minute})
		sent := noise(uint64(i), pairBytes)
		all.Go(func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+len(rest)%4097)
				c.client.Write(rest[:n])
				rest = rest[n:]
			}
			c.client.CloseWrite()
		})
		all.Go(func() { io.Copy(c.worker, c.worker); c.worker.Close() })
		all.Go(func() {
			if got, err := io.ReadAll(c.client); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("pair %d: %d of %d bytes came back, error %v", i, len(got), len(sent), err)
			}
		})
	}
	all.Wait()
	eventually(t, "all relays end", func() bool { return s.group.Live() == 0 })
}

func testPeersGoneBeforeTheStart(t *testing.T, s *scene) {
	client, a := s.connect(t)
	worker, b := s.connect(t)
	say(t, client, []byte("last words"))
	client.Close()
	worker.Close()
	b.Close() // even our own end
	c := s.start(client, worker, a, b, Limits{})
	c.end(t)

	client, a = s.connect(t)
	worker, b = s.connect(t)
	say(t, client, []byte("last words"))
	client.Close()
	c = s.start(client, worker, a, b, Limits{})
	want(t, worker, []byte("last words"))
	wantEOF(t, worker)
	worker.Close()
	c.wantEnd(t, A, EOF)
}

// A connection that knows no half-close is closed instead.
func TestPipeIsClosedWhereOthersGetFIN(t *testing.T) {
	client, a := net.Pipe()
	worker, b := net.Pipe()
	ended := make(chan result, 1)
	Relay(a, b, Limits{}, func(s Stats, err error) { ended <- result{s, err} })
	go client.Write([]byte("ping"))
	want(t, worker, []byte("ping"))
	client.Close()
	wantEOF(t, worker)
	if r := <-ended; r.stats.First != A || r.stats.Reason != EOF {
		t.Errorf("ended with %v, error %v", r.stats, r.err)
	}
}

// TLS connections have no descriptor that an event loop could serve: the portable engine carries them, with the same rules.
func TestTLSConnectionIsRelayed(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate
	defer server.Close()
	s := &scene{group: new(Group), network: "tcp"}
	outside, a := s.connect(t)
	worker, b := s.connect(t)
	client := tls.Client(outside, &tls.Config{InsecureSkipVerify: true})
	c := s.start(client, worker, tls.Server(a, &tls.Config{Certificates: server.TLS.Certificates}), b, Limits{})
	sent := noise(1, 1<<20)
	go func() { client.Write(sent); client.CloseWrite() }()
	want(t, worker, sent)
	wantEOF(t, worker)
	say(t, worker, []byte("answer"))
	worker.Close()
	want(t, client, []byte("answer"))
	wantEOF(t, client)
	c.wantEnd(t, A, EOF)
}
