package grpcproxy

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"gateway/internal/metrics"
)

// flood is what an abusive client does again and again.
type flood struct {
	counted string
	start   func(p *rawPeer) error // once; nil: nothing
	again   func(p *rawPeer, n uint32) error
}

var floods = map[string]flood{
	"rapid reset": {"resets", nil, func(p *rawPeer, n uint32) error {
		_ = p.call(2*n+1, false)
		return p.WriteRSTStream(2*n+1, http2.ErrCodeCancel)
	}},
	"streams that make us reset": {"resets", nil, func(p *rawPeer, n uint32) error {
		_ = p.call(2*n+1, false)
		return p.WriteWindowUpdate(2*n+1, 0)
	}},
	"ping":     {"nuisance", nil, func(p *rawPeer, _ uint32) error { return p.WritePing(false, [8]byte{}) }},
	"settings": {"nuisance", nil, func(p *rawPeer, _ uint32) error { return p.WriteSettings() }},
	"priority": {"nuisance", nil, func(p *rawPeer, _ uint32) error {
		return p.WritePriority(1, http2.PriorityParam{StreamDep: 3})
	}},
	"unknown frames": {"nuisance", nil, func(p *rawPeer, _ uint32) error { return p.WriteRawFrame(99, 0, 0, nil) }},
	"empty data": {"nuisance",
		func(p *rawPeer) error { return p.call(1, false) },
		func(p *rawPeer, _ uint32) error { return p.WriteData(1, false, nil) }},
	"continuation": {"headers", halfHeaders,
		func(p *rawPeer, _ uint32) error { return p.WriteContinuation(1, false, nil) }},
	"a huge header block": {"headers", halfHeaders,
		func(p *rawPeer, _ uint32) error { return p.WriteContinuation(1, false, make([]byte, frameBytesMax)) }},
}

func halfHeaders(p *rawPeer) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(":method", "POST")})
}

// TestAbusiveCallerIsEndedAndHurtsNobody runs each flood while a good client calls.
func TestAbusiveCallerIsEndedAndHurtsNobody(t *testing.T) {
	t.Parallel()
	for name, f := range floods {
		t.Run(name, func(t *testing.T) {
			o := everything(startService(t, named("b")))
			o.Metrics = metrics.New()
			address := startProxy(t, o)
			hurt := neighbour(t, address)
			p := rawCaller(t, address)
			p.silent = true
			if f.start != nil {
				p.must(f.start(p))
			}
			abuses := o.Metrics.GRPC.Abuses.WithLabelValues(f.counted)
			ended := make(chan struct{})
			go func() { // no longer than it takes: what comes after the end would reset the connection, and GOAWAY with it
				defer close(ended)
				for n := uint32(0); counted(t, abuses) == 0 && f.again(p, n) == nil; n++ {
				}
			}()
			p.wantGoAway(http2.ErrCodeEnhanceYourCalm)
			hurt()
			if n := counted(t, abuses); n != 1 {
				t.Errorf("counted %v times", n)
			}
			_ = p.conn.Close()
			<-ended
		})
	}
}

// TestIdlePeerMayAskForEver has a peer send a PING and an empty DATA frame a second for as long as nothing else happens, and then
// as many at once as are too many.
func TestIdlePeerMayAskForEver(t *testing.T) {
	p, err := New(everything("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Shutdown(testContext(t)) }()
	near, _ := net.Pipe()
	cc := &callerConn{}
	cc.conn = newConn(p, near, cc)
	defer cc.drop()
	for name, count := range map[string]func() error{"PING": cc.nuisance, "DATA": cc.emptyData} {
		t.Run(name, func(t *testing.T) {
			for n := range 5 * nuisancesMax {
				cc.readAt.Store(int64(n) * int64(time.Second))
				if err := count(); err != nil {
					t.Fatalf("after %d seconds: %v", n, err)
				}
			}
			for range 2*nuisancesMax + 1 {
				if count() != nil {
					return
				}
			}
			t.Errorf("%d at once are not too many", 2*nuisancesMax+1)
		})
	}
}

// TestCallerThatReadsNoAnswersIsEnded asks for answers without reading any.
func TestCallerThatReadsNoAnswersIsEnded(t *testing.T) {
	t.Parallel()
	o := everything(startService(t, named("b")))
	o.Routes[0].Pattern, o.Metrics = "/grpc.testing.TestService/*", metrics.New()
	address := startProxy(t, o)
	hurt := neighbour(t, address)
	p := rawCaller(t, address)
	call := func(stream uint32) error {
		path := fmt.Sprintf("/%d/%s", stream, strings.Repeat("x", 1000)) // which the answer repeats
		return p.respond(stream, true, ":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpc")
	}
	for stream := uint32(1); call(stream) == nil; stream += 2 {
	}
	eventually(t, "it is counted", func() bool {
		return counted(t, o.Metrics.GRPC.Abuses.WithLabelValues("unread")) == 1
	})
	hurt()
}

// TestHeaderFieldsOverTheLimit sends them compressed to almost nothing: the connection's HPACK state must survive.
func TestHeaderFieldsOverTheLimit(t *testing.T) {
	o := everything(startService(t, named("b")))
	o.Metrics = metrics.New()
	address := startProxy(t, o)
	hurt := neighbour(t, address)
	p := rawCaller(t, address)
	big := strings.Repeat("v", 4000)
	var fields []string
	for range 1000 {
		fields = append(fields, "k", big)
	}
	p.must(p.call(1, true, fields...))
	p.wantStatus(1, "8")
	p.must(p.call(3, true))
	p.wantStatus(3, "12") // the service has no such method
	large := p.encode(":method", "POST", ":scheme", "http", ":path", "/a.B/C", "k", strings.Repeat("v", headerBytesMaxDefault+1000))
	p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: large[:frameBytesMax], EndStream: true}))
	for rest := large[frameBytesMax:]; len(rest) > 0; {
		n := min(len(rest), frameBytesMax)
		p.must(p.WriteContinuation(5, n == len(rest), rest[:n]))
		rest = rest[n:]
	}
	p.wantStatus(5, "8")
	p.must(p.call(7, true))
	p.wantStatus(7, "12")
	hurt()
	if n := counted(t, o.Metrics.GRPC.Handled.WithLabelValues("", "", "ResourceExhausted")); n != 2 {
		t.Errorf("counted %v times", n)
	}
}

func TestSlowFrameEndsTheConnection(t *testing.T) {
	o := everything(startService(t, named("b")))
	o.Metrics = metrics.New()
	proxy, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	address := serveProxy(t, proxy)
	p := rawCaller(t, address)
	slow := proxyConn(proxy)
	hurt := neighbour(t, address)
	if _, err := p.conn.Write([]byte{0, 0, 8, byte(http2.FramePing)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the frame is known to be unfinished", func() bool {
		return slow.partialSince.Load() != 0
	})
	var b batch
	slow.look(proxy.now()+frameWait+time.Second, &b) // as the watch will
	b.run()
	if f := p.until(func(http2.Frame) bool { return false }); f != nil {
		t.Errorf("got %v", f)
	}
	if n := counted(t, o.Metrics.GRPC.Abuses.WithLabelValues("slow")); n != 1 {
		t.Errorf("counted %v times", n)
	}
	hurt()
}

// proxyConn returns the one connection of a client.
func proxyConn(p *Proxy) *conn {
	for {
		p.mu.Lock()
		for c := range p.callers {
			p.mu.Unlock()
			return c
		}
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}
