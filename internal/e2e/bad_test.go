package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

const (
	badPerKind   = 200 // silent, junk and half a signature: 200 of each
	sniffTimeout = 3 * time.Second
)

// echoServer answers every connection with the bytes that it gets.
func echoServer(t *testing.T) (addr string) {
	t.Helper()
	return echoServerOn(t, "127.0.0.1")
}

func echoServerOn(t *testing.T, host string) (addr string) {
	t.Helper()
	return serveEach(t, host, func(c net.Conn) { io.Copy(c, c) })
}

// zmtpSignature is the first 10 bytes of libzmq (RFC 37, greeting).
var zmtpSignature = []byte{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f}

// goodClient sends a signature through the gateway to an echo server and wants it back.
func goodClient(addr string) error {
	c, err := net.DialTimeout("tcp", addr, goodWithin)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(goodWithin)); err != nil {
		return err
	}
	if _, err := c.Write(zmtpSignature); err != nil {
		return err
	}
	got := make([]byte, len(zmtpSignature))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(zmtpSignature) {
		return fmt.Errorf("got % x back", got)
	}
	return nil
}

func TestGoodClientIsServedAmong600BadOnes(t *testing.T) {
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" {
  name          = "public"
  sniff_timeout = "%v"
}
relay "echo" {
  dial = ["tcp://%s"]
}
admin { listen = "127.0.0.1:0" }
`, sniffTimeout, echoServer(t)))
	addr := g.addr("public")
	before := g.descriptors()

	firstBytes := [][]byte{nil, []byte("\x00junk that is nothing"), zmtpSignature[:5]}
	var gone sync.WaitGroup
	for _, first := range firstBytes {
		for range badPerKind {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(first); err != nil {
				t.Fatal(err)
			}
			gone.Go(func() {
				defer c.Close()
				c.SetReadDeadline(time.Now().Add(3 * sniffTimeout))
				_, err := io.Copy(io.Discard, c)
				var t2 net.Error
				if errors.As(err, &t2) && t2.Timeout() {
					t.Errorf("a bad client that sent %q was still connected long after the sniff time-out", first)
				}
			})
		}
	}
	if err := goodClient(addr); err != nil {
		t.Errorf("the good client: %v", err)
	}
	gone.Wait()
	eventually(t, patience, "all bad connections are closed and forgotten", func() bool {
		return g.metric(`gateway_sniffing`) == 0 && g.descriptors() <= before+4
	})
	if n := g.metric(`gateway_sniff_seconds_count{result="unmatched"}`); n < badPerKind {
		t.Errorf("%v unmatched connections counted, want %d", n, badPerKind)
	}
	if n := g.metric(`gateway_sniff_seconds_count{result="timeout"}`); n < 2*badPerKind {
		t.Errorf("%v timed out connections counted, want %d", n, 2*badPerKind)
	}
	g.waitLog(`bytes=006a756e6b`, patience) // the first bytes, in hex
}

// TestDescriptorsExhaustedAndFreedAgain gives the gateway 256 descriptors and takes them all.
func TestDescriptorsExhaustedAndFreedAgain(t *testing.T) {
	g := startGatewayBy(t, fmt.Sprintf(`
listen "127.0.0.1:0" {
  name          = "public"
  sniff_timeout = "30s"
}
relay "echo" {
  dial = ["tcp://%s"]
}
`, echoServer(t)), []string{"prlimit", "--nofile=256:256"})
	addr := g.addr("public")
	var silent []net.Conn
	for range 400 { // the kernel's backlog takes what the gateway cannot
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	g.waitLog(`too many open files`, patience)
	for _, c := range silent {
		c.Close()
	}
	eventually(t, patience, "a good client is served again", func() bool { return goodClient(addr) == nil })
}
