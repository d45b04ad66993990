//go:build libzmq

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"gateway/internal/zmtp"
)

const (
	silentEach       = 10 // of each kind of connection
	silentFiles      = 4  // more than before: a redialled backend, and what closes just then
	silentGoroutines = silentEach - 1
	chatEvery        = 20 * time.Millisecond
)

// silentConfig has a place for each kind. In an ordinary run idle connections have time-outs that are soon over; at full size
// nothing is set, and keepalive has to find who is gone.
func silentConfig(chat, quiet, calls string) string {
	return fmt.Sprintf(`
listen "%[1]s:0" { name = "public" }
listen "%[1]s:0" { name = "pairs" }
listen "%[1]s:0" { name = "asks" }
relay "vault" {
  match { listen = ["pairs"] }
  workers {
    listen   = "%[2]s:0"
    source   = ["203.0.113.0/24"]
    max_wait = %[3]q
  }
  %[4]s
}
zmq "asks" {
  match { listen = ["asks"] }
  socket  = "REP"
  method  = "/grpc.testing.TestService/EmptyCall"
  to "interop" {}
}
relay "chat" {
  match { listen = ["public"] }
  dial = ["tcp://%[5]s"]
}
relay "quiet" {
  match { protocol = "ssh" }
  dial = ["tcp://%[6]s"]
  %[4]s
}
backend "interop" { grpc = [%[7]q] }
grpc "*" {
  to "interop" {}
}
sockjs "/chat" {
  push             = "tcp://%[2]s:0"
  pull             = "tcp://%[2]s:0"
  heartbeat        = "1s"
  disconnect_delay = "1s"
}
drain_timeout = "1s"
`, clientLink.gateway, backendLink.gateway, silentMaxWait, silentIdle, chat, quiet, calls)
}

// chatter is a server that talks all the time, and listens.
func chatter(t *testing.T, host string) (addr string) {
	t.Helper()
	return serveEach(t, host, chat)
}

// chat talks and listens until either fails, and closes.
func chat(c net.Conn) {
	defer c.Close()
	heard := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c)
		close(heard)
	}()
	tick := time.NewTicker(chatEvery)
	defer tick.Stop()
	for {
		select {
		case <-heard:
			return
		case <-tick.C:
			if _, err := c.Write(zmtpSignature); err != nil {
				return
			}
		}
	}
}

// silentPeers are the clients and workers of a test. They do not come back when they are cut.
type silentPeers struct {
	t       *testing.T
	g       *gatewayProcess
	ctx     context.Context
	running sync.WaitGroup
}

// until closes c when its peer does, or at the end.
func (p *silentPeers) until(c io.Closer, read func() error) {
	stop := context.AfterFunc(p.ctx, func() { c.Close() })
	p.running.Go(func() {
		defer stop()
		defer c.Close()
		for read() == nil {
		}
	})
}

func discard(c net.Conn) func() error {
	buf := make([]byte, 512)
	return func() error {
		_, err := c.Read(buf)
		return err
	}
}

func (p *silentPeers) dial(listener, first string) net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.g.addr(listener))
	must(p.t, err)
	_, err = io.WriteString(c, first)
	must(p.t, err)
	return c
}

// meet is a ZMTP connection on which nothing is said.
func (p *silentPeers) meet(listener string, kind zmtp.SocketType) {
	c := p.dial(listener, "")
	p.running.Go(func() { // a worker's handshake goes on once it has a client
		conn, err := zmtp.Connect(p.ctx, c, zmtp.Options{SocketType: kind, HandshakeTimeout: silentWait})
		if err != nil {
			c.Close()
			return
		}
		var m zmtp.Message
		p.until(conn, func() error { return conn.Recv(&m) })
	})
}

// come has so many of each kind come, and waits until all are served.
func (p *silentPeers) come(each int, watched link) {
	p.t.Helper()
	for range each {
		busy := p.dial("public", string(zmtpSignature))
		context.AfterFunc(p.ctx, func() { busy.Close() })
		p.running.Go(func() { chat(busy) })
		quiet := p.dial("public", sshHello)
		p.until(quiet, discard(quiet))
		p.meet("vault/workers", zmtp.DEALER)
		p.meet("pairs", zmtp.DEALER)
		p.call()
	}
	want := 4 * each
	if watched == clientLink { // these have nobody behind the other link
		for range each {
			b, _, err := (&websocket.Dialer{HandshakeTimeout: browserWait}).Dial("ws"+p.g.chat()[len("http"):]+"/websocket", nil)
			must(p.t, err)
			p.until(b, func() error { _, _, err := b.ReadMessage(); return err })
		}
		want += each
		if silentIdle == "" {
			for range each {
				p.meet("asks", zmtp.REQ)
			}
			want += each
		}
	} else {
		for range each {
			p.meet("vault/workers", zmtp.DEALER) // parked, with no client
		}
	}
	eventually(p.t, patience, "all are served", func() bool {
		return p.g.metric("gateway_connections_open") >= float64(want) && p.g.metric("gateway_pair_open") == float64(each)
	})
}

// call has a connection with two streams: on the one the caller talks all the time, on the other the server.
func (p *silentPeers) call() {
	p.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+p.g.addr("public"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(p.t, err)
	client := testgrpc.NewTestServiceClient(conn)
	said, err := client.StreamingInputCall(p.ctx)
	must(p.t, err)
	request := &testgrpc.StreamingOutputCallRequest{}
	for range int(2 * silentWait / chatEvery) {
		request.ResponseParameters = append(request.ResponseParameters, &testgrpc.ResponseParameters{
			Size: 1, IntervalUs: int32(chatEvery.Microseconds()),
		})
	}
	heard, err := client.StreamingOutputCall(p.ctx, request)
	must(p.t, err)
	p.until(conn, func() error { _, err := heard.Recv(); return err })
	p.running.Go(func() {
		tick := time.NewTicker(chatEvery)
		defer tick.Stop()
		for range tick.C {
			if said.Send(&testgrpc.StreamingInputCallRequest{Payload: &testgrpc.Payload{Body: zmtpSignature}}) != nil {
				return
			}
		}
	})
}

// TestPeersBehindASilentLinkAreFoundAndFreed pulls the cable on either side of the gateway. Nobody says goodbye.
func TestPeersBehindASilentLinkAreFoundAndFreed(t *testing.T) {
	t.Parallel() // it waits most of the time
	for name, cut := range map[string]link{"clients": clientLink, "backends": backendLink} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			if silentRetries > 0 {
				n.inside("", "sysctl", "-qw", fmt.Sprintf("net.ipv4.tcp_retries2=%d", silentRetries))
			}
			g := n.startGateway(silentConfig(chatter(t, backendLink.outside), echoServerOn(t, backendLink.outside), grpcServerOn(t, backendLink.outside)))
			if cut == clientLink {
				g.runProgram(t, echoOrBye)
			}
			come := func(each int) (leave func()) {
				ctx, cancel := context.WithCancel(t.Context())
				p := &silentPeers{t: t, g: g, ctx: ctx}
				p.come(each, cut)
				return func() {
					cancel()
					p.running.Wait()
				}
			}
			come(1)() // what is made once is made
			g.quiet(0)
			before := g.footprint()
			leave := come(silentEach)
			during := g.footprint()
			n.silence(cut)
			start := time.Now()
			var after footprint
			g.quiet(0)
			eventually(t, silentWait, fmt.Sprintf("what there is, is as before: %v", before), func() bool {
				after = g.footprint()
				return after.files <= before.files+silentFiles && after.goroutines <= before.goroutines+silentGoroutines
			})
			t.Logf("figure: the link of the %s silent: all found and freed within %.1f s; %v before, %v meanwhile, %v after",
				name, time.Since(start).Seconds(), before, during, after)
			n.restore(cut)
			leave()
			come(1)() // service goes on
			g.quiet(0)
		})
	}
}

// TestClientIsNotLeftWithAWorkerBehindASilentLink has workers wait whose link is dead, and one that is well.
func TestClientIsNotLeftWithAWorkerBehindASilentLink(t *testing.T) {
	const (
		dead      = 3
		handshake = time.Second
		served    = dead*handshake + 30*time.Second // libzmq comes back at once, and the machine may be busy
	)
	n := newNetwork(t)
	g := n.startGateway(fmt.Sprintf(`
listen "%s:0" { name = "public" }
relay "vault" {
  match { mechanism = ["NULL"] }
  workers {
    listen = "0.0.0.0:0"
    source = ["203.0.113.0/24", "198.51.100.0/24"]
  }
  handshake_timeout = "%v"
}
drain_timeout = "1s"
`, clientLink.gateway, handshake))
	_, port, err := net.SplitHostPort(g.addr("vault/workers"))
	must(t, err)
	worker := func(tag, host string) {
		zmqEcho(t, zmq.DEALER, tag, func(s *zmq.Socket) { must(t, s.Connect("tcp://"+net.JoinHostPort(host, port))) })
	}
	worker("well", clientLink.gateway)
	g.parked(1)
	for range dead { // who came last is asked first
		worker("dead", backendLink.gateway)
	}
	g.parked(dead + 1)
	n.silence(backendLink)
	client := zmqSocket(t, zmq.DEALER)
	must(t, client.Connect("tcp://"+g.addr("public")))
	within(t, served, "the client's way to the worker that is well", func() {
		if tag, lost := askUntilServed(t, client); tag != "well" || lost == 0 {
			t.Errorf("served by %q, %d requests lost: want some, at workers that are dead", tag, lost)
		}
	})
}
