package sniff

import (
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// crowdSize is how many bad clients of each kind there are.
const crowdSize = 200

// A good client that had to wait for the bad ones would wait as long as they may. On a busy machine all take longer: it is tried
// again with more time for the bad ones.
func TestGoodClientIsServedAmongHundredsOfBadOnes(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for timeout := 2 * time.Second; ; timeout *= 2 {
		waited, crowded := serveAmongCrowd(t, timeout)
		if crowded && waited < timeout/2 {
			return
		}
		if timeout > patience/2 {
			t.Fatalf("good clients waited %v where bad ones may take %v", waited, timeout)
		}
	}
}

// serveAmongCrowd tells how long it took to serve good clients, and whether the bad ones were there all that time.
func serveAmongCrowd(t *testing.T, timeout time.Duration) (waited time.Duration, crowded bool) {
	t.Helper()
	p := open(t, Options{Timeout: timeout})
	crowd := make([]net.Conn, 0, 3*crowdSize)
	start := time.Now()
	for range crowdSize {
		crowd = append(crowd, p.dial(""), p.dial("\x00junk"), p.dial("\xff\x00\x00\x00\x00"))
	}
	eventually(t, "the silent ones to be sniffed", func() bool { return p.sniffing()+p.results("timeout") == 2*crowdSize })

	good := time.Now()
	for _, s := range samples {
		p.dial(s.bytes)
		c := p.next()
		if c.Protocol() != s.protocol {
			t.Errorf("%s: handed over as %q", s.peer, c.Protocol())
		}
		c.end()
	}
	waited, crowded = time.Since(good), p.results("timeout") == 0

	for _, c := range crowd {
		expectEnd(t, c)
	}
	p.server.Close()
	if silent, junk := p.results("timeout"), p.results("unmatched"); silent != 2*crowdSize || junk != crowdSize {
		t.Errorf("%d counted as timed out, %d as unmatched; want %d and %d", silent, junk, 2*crowdSize, crowdSize)
	}
	if n, seconds := p.log.count("\n"), time.Since(start)/time.Second; n > int(seconds)+1 {
		t.Errorf("%d log lines in %d s", n, seconds)
	}
	shutdown(t, p.server) // every slot came back
	return waited, crowded
}

func TestConnectionsComeAndGoWhileServerStops(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 20 {
		p := open(t, Options{Handle: func(c *Conn, release func()) { handed{c, release}.end() }})
		done := make(chan struct{})
		for range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for i := 0; ; i++ {
					c, err := net.Dial("tcp", p.addr)
					if err != nil {
						return // stopped
					}
					_, _ = io.WriteString(c, samples[i%len(samples)].bytes)
					c.Close()
				}
			}()
		}
		eventually(t, "traffic", func() bool { return p.accepted() > 50 })
		p.server.Close()
		if n := p.sniffing(); n != 0 {
			t.Errorf("%d are still being sniffed", n)
		}
		shutdown(t, p.server)
		for range 4 {
			receive(t, done, "clients to notice")
		}
		sum := p.results("stopped") + p.results("closed") + p.results("timeout") + p.results("unmatched")
		for _, s := range All {
			sum += p.results(s.Name)
		}
		if sum != p.accepted() {
			t.Errorf("%d results for %d connections", sum, p.accepted())
		}
	}
}
