//go:build libzmq

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"gateway/internal/zmtp"
)

const (
	poolSize  = 5
	badWithin = 2 * time.Second // a bad client stays for so long at most
)

// badClient does its worst on a connection, and returns when it is done.
type badClient struct {
	name  string
	costs bool // it may cost a worker that connects: what it sends could be good for all that a keyless gateway can see
	run   func(t *testing.T, c net.Conn, keys curveKeys)
}

func says(text string) func(*testing.T, net.Conn, curveKeys) {
	return func(_ *testing.T, c net.Conn, _ curveKeys) {
		c.Write([]byte(text)) // fails when the gateway has closed already
		listen(c)
	}
}

// listen reads until the gateway closes or the client has had enough.
func listen(c net.Conn) {
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	buf := make([]byte, 1024)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

func zmtpGreeting(m zmtp.Mechanism) string {
	return string(zmtp.Greeting{Major: 3, Minor: 1, Mechanism: m}.Append(nil))
}

// forgedHello is a HELLO that is well-formed, and a lie.
func forgedHello() string {
	return "\x04\xc8\x05HELLO\x01\x00" + strings.Repeat("\x00", 72) + strings.Repeat("k", 32) + "\x00\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("b", 80)
}

// badClients are the twelve kinds.
var badClients = []badClient{
	{"junk", false, says("\x00\x01\x02 junk that is nothing")},
	{"HTTP", false, says("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")},
	{"TLS", false, func(_ *testing.T, c net.Conn, _ curveKeys) {
		c.SetDeadline(time.Now().Add(badWithin))
		tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
	}},
	{"half a signature", false, says("\xff\x00\x00\x00\x00")},
	{"ZMTP 2", false, func(_ *testing.T, c net.Conn, _ curveKeys) {
		c.Write([]byte(zmtpGreeting("")[:10]))
		c.Read(make([]byte, 10))
		c.Write([]byte("\x01\x05\x00\x00"))
		listen(c)
	}},
	{"NULL", false, says(zmtpGreeting("NULL") + "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x05DEALER")},
	{"PLAIN", false, says(zmtpGreeting("PLAIN") + "\x04\x10\x05HELLO\x04user\x04pass")},
	{"forged HELLO", true, func(_ *testing.T, c net.Conn, _ curveKeys) {
		c.Write([]byte(zmtpGreeting("CURVE") + forgedHello()))
		c.SetReadDeadline(time.Now().Add(patience)) // it waits for its turn, and is turned away then
		io.Copy(io.Discard, c)
	}},
	{"truncated HELLO", false, says(zmtpGreeting("CURVE") + "\x04\x64" + forgedHello()[2:102])},
	{"greeting and silence", false, says(zmtpGreeting("CURVE"))},
	{"HELLO byte by byte", false, func(_ *testing.T, c net.Conn, _ curveKeys) {
		c.Write([]byte(zmtpGreeting("CURVE")))
		for i := range 100 { // never all of it
			if _, err := c.Write([]byte(forgedHello()[i : i+1])); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // the pace of a slow client
		}
	}},
	{"wrong key", true, func(t *testing.T, c net.Conn, _ curveKeys) {
		other, err := zmtp.GenerateKeyPair()
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), badWithin)
		defer cancel()
		conn, err := zmtp.Connect(ctx, c, zmtp.Options{SocketType: zmtp.DEALER, Security: zmtp.CurveClient{Server: other.Public}})
		if err == nil {
			conn.Close()
			t.Error("a client with a wrong key was let in")
		}
	}},
}

// attack lets many clients of a kind come at once, each from a source of its own, so that none is slowed down for another.
func (b badClient) attack(t *testing.T, addr string, keys curveKeys, clients int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			from := &net.TCPAddr{IP: net.IPv4(127, 6, byte(len(b.name)), byte(i+1))}
			c, err := (&net.Dialer{LocalAddr: from, Timeout: badWithin}).Dial("tcp", addr)
			if err != nil {
				t.Errorf("%s: %v", b.name, err)
				return
			}
			defer c.Close()
			b.run(t, c, keys)
		})
	}
	all.Wait()
}

// TestBadClientsCostNoWorker counts a pool of libzmq workers that connect, through attack after attack. libzmq never brings one
// back that was lost: the count tells.
func TestBadClientsCostNoWorker(t *testing.T) {
	keys := newCurveKeys(t)
	g := pairGateway(t, "", curveOnly, `handshake_timeout = "1s"`)
	for i := range poolSize {
		zmqEcho(t, zmq.DEALER, fmt.Sprint(i), func(s *zmq.Socket) {
			keys.worker(t, s)
			must(t, s.Connect(g.door()))
		})
	}
	g.parked(poolSize)
	for _, b := range badClients {
		if b.costs {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			b.attack(t, g.addr("public"), keys, badClientsPerKind)
			if n := g.metric("gateway_pair_paired_total"); n != 0 {
				t.Fatalf("%v of them were paired", n)
			}
			g.parked(poolSize)
		})
	}
	allServe(t, g, keys)
}

// allServe lets as many clients as there are workers be served at once: all of the pool is there, and well.
func allServe(t *testing.T, g *gatewayProcess, keys curveKeys) {
	t.Helper()
	served := map[string]bool{}
	for range poolSize {
		client := curveClient(t, keys, "tcp://127.0.7.1:0;"+g.addr("public"))
		tag, _ := askUntilServed(t, client)
		served[tag] = true
	}
	if len(served) != poolSize {
		t.Errorf("%d of %d workers are left: %v", len(served), poolSize, served)
	}
}

// TestBadClientsCostNoWorkerOfAnAgent has the kinds that a keyless gateway cannot tell from good ones, and a bad INITIATE.
func TestBadClientsCostNoWorkerOfAnAgent(t *testing.T) {
	keys := newCurveKeys(t)
	g := pairGateway(t, "agents = true", curveOnly, `handshake_timeout = "1s"`)
	for i := range poolSize {
		endpoint := boundEcho(t, fmt.Sprint(i), func(s *zmq.Socket) { keys.worker(t, s) })
		startAgent(t, g, fmt.Sprintf("agent-%d", i), endpoint, "-slots", "1")
	}
	g.parked(poolSize)
	for _, b := range append([]badClient{{"bad INITIATE", true, badInitiate}}, badClients...) {
		if !b.costs {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			before := g.metric("gateway_pair_handshake_failures_total")
			b.attack(t, g.addr("public"), keys, badClientsPerKind)
			g.parked(poolSize)
			if n := g.metric("gateway_pair_handshake_failures_total") - before; n != badClientsPerKind {
				t.Errorf("%v failed handshakes are counted, want %d", n, badClientsPerKind)
			}
		})
	}
	allServe(t, g, keys)
}

// badInitiate does what a client with the right key does, up to WELCOME; its INITIATE is well-formed, and rubbish.
func badInitiate(t *testing.T, c net.Conn, keys curveKeys) {
	server, err := zmtp.ParsePublicKey(keys.serverPublic)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), badWithin)
	defer cancel()
	conn, err := zmtp.Connect(ctx, &spoiled{Conn: c}, zmtp.Options{SocketType: zmtp.DEALER, Security: zmtp.CurveClient{Server: server}})
	if err == nil {
		conn.Close()
		t.Error("a client with a bad INITIATE was let in")
	}
}

// spoiled turns a bit of every INITIATE that is written.
type spoiled struct{ net.Conn }

func (s *spoiled) Write(b []byte) (int, error) {
	if at := strings.Index(string(b), "\x08INITIATE"); at >= 0 {
		b = []byte(string(b))
		b[len(b)-1] ^= 1
	}
	return s.Conn.Write(b)
}
