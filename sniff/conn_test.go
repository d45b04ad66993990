package sniff

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// readCounter counts the reads of a connection.
type readCounter struct {
	net.Conn
	reads atomic.Int32
}

func (r *readCounter) Read(p []byte) (int, error) {
	r.reads.Add(1)
	return r.Conn.Read(p)
}

func TestClientThatWritesByteByByteIsRecognised(t *testing.T) {
	for _, s := range samples {
		t.Run(s.protocol+"/"+s.peer, func(t *testing.T) {
			client, server := pair(t) // Go sets TCP_NODELAY
			go func() {
				for i := range len(s.bytes) {
					if _, err := client.Write([]byte{s.bytes[i]}); err != nil {
						return
					}
				}
			}()
			c, result := Detect(server, All, patience)
			if result != Matched || c.Protocol() != s.protocol {
				t.Fatalf("%v as %q, want %q", result, c.Protocol(), s.protocol)
			}
			expectRead(t, c, s.bytes)
		})
	}
}

func TestClientThatWritesAllAtOnceNeedsOneRead(t *testing.T) {
	for _, s := range samples {
		client, server := pair(t)
		if _, err := io.WriteString(client, s.bytes); err != nil {
			t.Fatal(err)
		}
		counter := &readCounter{Conn: server}
		c, result := Detect(counter, All, patience)
		if result != Matched || c.Protocol() != s.protocol || counter.reads.Load() != 1 {
			t.Errorf("%s: %v as %q after %d reads", s.peer, result, c.Protocol(), counter.reads.Load())
		}
		if want := s.bytes[:min(len(s.bytes), prefixBytesMax)]; string(c.Prefix()) != want {
			t.Errorf("%s: prefix %q, want %q", s.peer, c.Prefix(), want)
		}
	}
}

// longerThanPrefix leaves something in the socket.
const longerThanPrefix = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u5\r\n" + "the key exchange of a client that does not wait"

func TestSniffedBytesAreReadBackInPiecesOfAnySize(t *testing.T) {
	const sent = longerThanPrefix
	for size := 1; size <= len(sent); size++ {
		client, server := pair(t)
		io.WriteString(client, sent)
		client.CloseWrite()
		c, _ := Detect(server, All, patience)
		var got strings.Builder
		for buf := make([]byte, size); ; {
			n, err := c.Read(buf)
			got.Write(buf[:n])
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != sent {
			t.Fatalf("in pieces of %d: %q", size, got.String())
		}
	}
}

func TestRelayGetsUnreadBytesAndRawConnection(t *testing.T) {
	const sent = longerThanPrefix
	for taken := 0; taken <= prefixBytesMax; taken++ {
		client, server := pair(t)
		io.WriteString(client, sent)
		c, _ := Detect(server, All, patience)
		expectRead(t, c, sent[:taken])

		prefix, raw := c.Detach()
		if string(prefix) != sent[taken:prefixBytesMax] || raw != net.Conn(server) {
			t.Fatalf("after %d bytes: prefix %q, raw %v", taken, prefix, raw)
		}
		expectRead(t, raw, sent[prefixBytesMax:])
		if again, _ := c.Detach(); len(again) != 0 {
			t.Errorf("a second Detach gives %q again", again)
		}
	}
}

func TestAppendingToThePrefixLeavesTheConnAlone(t *testing.T) {
	client, server := pair(t)
	io.WriteString(client, "SSH-")
	c, _ := Detect(server, All, patience)
	if prefix := c.Prefix(); cap(prefix) != len(prefix) {
		t.Errorf("%d bytes of %d are used", len(prefix), cap(prefix))
	}
}

func TestSlowDribblerHasOneDeadlineForAllItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		var writer sync.WaitGroup
		defer writer.Wait()
		writer.Go(func() { // a byte each second; the tenth would complete the signature
			for _, b := range []byte("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f") {
				if _, err := client.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		start := time.Now()
		c, result := Detect(server, All, 5*time.Second+500*time.Millisecond)
		if took := time.Since(start); result != TimedOut || took != 5500*time.Millisecond {
			t.Errorf("%v after %v", result, took)
		}
		if got := string(c.Prefix()); got != "\xff\x00\x00\x00\x00\x00" {
			t.Errorf("prefix %x", got)
		}
		c.Close()
	})
}

func TestReadLongAfterHandOverMeetsNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []string{"SSH-", "junk", ""} { // matched, unmatched, timed out
			client, server := net.Pipe()
			go func() {
				io.WriteString(client, first)
				time.Sleep(time.Hour)
				io.WriteString(client, "late")
			}()
			c, _ := Detect(server, All, time.Second)
			expectRead(t, c, first+"late")
			c.Close()
			client.Close()
		}
	})
}

func TestPeerThatLeavesEarly(t *testing.T) {
	for _, first := range []string{"", "S", "\xff\x00\x00", "PRI * HTTP/2.0\r\n"} {
		client, server := pair(t)
		io.WriteString(client, first)
		client.CloseWrite()
		c, result := Detect(server, All, patience)
		if result != Closed || c.Protocol() != "" || string(c.Prefix()) != first {
			t.Errorf("%q: %v as %q, prefix %q", first, result, c.Protocol(), c.Prefix())
		}
	}
}

func TestPeerThatSaysEnoughAndLeavesIsServed(t *testing.T) {
	client, server := pair(t)
	io.WriteString(client, "SSH-")
	client.Close()
	c, result := Detect(server, All, patience)
	if result != Matched {
		t.Fatal(result)
	}
	if all, err := io.ReadAll(c); string(all) != "SSH-" || err != nil {
		t.Errorf("%q, %v", all, err)
	}
}

// idler is a broken connection: its reads return nothing, at once.
type idler struct{ net.Conn }

func (idler) SetReadDeadline(time.Time) error { return nil }
func (idler) Read([]byte) (int, error)        { return 0, nil }

func TestReaderThatReturnsNothingDoesNotSpin(t *testing.T) {
	if _, result := Detect(idler{}, All, time.Hour); result != Closed {
		t.Error(result)
	}
}

// timeless is a connection that cannot have a deadline.
type timeless struct{ net.Conn }

func (timeless) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }
func (timeless) Read([]byte) (int, error)        { panic("read without a deadline") }

func TestNobodyWaitsForAPeerWithoutADeadline(t *testing.T) {
	if _, result := Detect(timeless{}, All, time.Hour); result != Closed {
		t.Error(result)
	}
}

func TestHalfClosePassesThrough(t *testing.T) {
	client, server := pair(t)
	io.WriteString(client, "SSH-question")
	client.CloseWrite()
	c, _ := Detect(server, All, patience)
	expectRead(t, c, "SSH-question")
	if _, err := io.WriteString(c, "answer"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(client); string(all) != "answer" || err != nil {
		t.Errorf("the client read %q, %v", all, err)
	}
}

func TestHalfCloseOfWhatCannotSaysSo(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := (&Conn{Conn: a}).CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

func TestReadingAndWritingAllocateNothing(t *testing.T) {
	client, server := pair(t)
	io.WriteString(client, "SSH-2.0-OpenSSH_9.2p1\r\n")
	c, _ := Detect(server, All, patience)
	prefix := *c
	one := make([]byte, 1)
	if n := testing.AllocsPerRun(100, func() {
		*c = prefix // replay again
		for range len(prefix.Prefix()) {
			c.Read(one)
		}
		client.Write(one)
		c.Read(one)
		c.Write(one)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
