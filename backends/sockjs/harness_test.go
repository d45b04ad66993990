package sockjs

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gateway/internal/metrics"
	"gateway/internal/zmtp"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// patience bounds every wait of these tests: nothing takes so long unless it hangs.
const patience = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gatewayUnderTest is a Server behind a real HTTP server, with real sockets for programs.
type gatewayUnderTest struct {
	*Server
	t        testing.TB
	url      string // of the prefix
	push     *zmtp.Socket
	pushAddr string
	pullAddr string
	metrics  *metrics.SockJS
}

// start serves the options' prefix.
func start(t testing.TB, o Options) *gatewayUnderTest {
	t.Helper()
	g := &gatewayUnderTest{t: t, metrics: metrics.NewSockJS(prometheus.NewRegistry())}
	o.Metrics = g.metrics
	g.push, g.pushAddr = listen(t, zmtp.SocketOptions{Options: zmtp.Options{SocketType: zmtp.PUSH}})
	o.Send = g.push.Send
	o.Peers = func() int { return g.push.Status().Peers }
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	g.Server = server
	_, g.pullAddr = listen(t, zmtp.SocketOptions{
		Options: zmtp.Options{SocketType: zmtp.PULL},
		Receive: func(_ *zmtp.Link, m *zmtp.Message) { server.Deliver(m) },
	})
	web := httptest.NewUnstartedServer(server)
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	web.Start()
	g.url = web.URL + server.options.Prefix
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // the programs have gone by now
		server.Shutdown(ctx)
		web.CloseClientConnections()
		web.Close()
	})
	return g
}

// listen binds a socket.
func listen(t testing.TB, o zmtp.SocketOptions) (*zmtp.Socket, string) {
	t.Helper()
	s, err := zmtp.NewSocket(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		closeSocket(t, s)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, "tcp://" + l.Addr().String()
}

func closeSocket(t testing.TB, s *zmtp.Socket) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Logf("closing a socket: %v", err)
	}
}

// event is a message that a program got.
type event struct{ kind, session, data string }

// program is a ZeroMQ program of a test: it tells what it got, and says what it is told to.
type program struct {
	t    testing.TB
	pull *zmtp.Socket
	push *zmtp.Socket
	got  chan event
	stop func()
}

// run connects a program. answer, if any, is called for each message before the test sees it.
func (g *gatewayUnderTest) run(answer func(*program, event)) *program {
	g.t.Helper()
	p := &program{t: g.t, got: make(chan event, 10_000)}
	o := zmtp.Options{SocketType: zmtp.PUSH, MessageBytesMax: 64 << 20}
	var err error
	if p.push, err = zmtp.NewSocket(zmtp.SocketOptions{Options: o}); err != nil {
		g.t.Fatal(err)
	}
	o.SocketType = zmtp.PULL
	receive := func(_ *zmtp.Link, m *zmtp.Message) {
		e := event{string(m.Part(0)), string(m.Part(1)), string(m.Part(2))}
		if answer != nil {
			answer(p, e)
		}
		p.got <- e
	}
	if p.pull, err = zmtp.NewSocket(zmtp.SocketOptions{Options: o, Receive: receive}); err != nil {
		g.t.Fatal(err)
	}
	for socket, addr := range map[*zmtp.Socket]string{p.push: g.pullAddr, p.pull: g.pushAddr} {
		if err := socket.Connect(addr); err != nil {
			g.t.Fatal(err)
		}
	}
	var once sync.Once
	p.stop = func() {
		once.Do(func() {
			closeSocket(g.t, p.pull)
			closeSocket(g.t, p.push)
		})
	}
	g.t.Cleanup(p.stop)
	eventually(g.t, "the program is connected", func() bool {
		return g.push.Status().Peers > 0 && p.push.Status().Peers > 0
	})
	return p
}

// say sends any message to the gateway.
func (p *program) say(parts ...string) {
	m := &zmtp.Message{}
	for _, part := range parts {
		m.Append([]byte(part))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.push.Send(ctx, m); err != nil {
		p.t.Errorf("the program could not send %q: %v", parts, err)
	}
}

// next is the next message that the program got.
func (p *program) next() event {
	p.t.Helper()
	select {
	case e := <-p.got:
		return e
	case <-time.After(patience):
		p.t.Fatal("the program got nothing")
		return event{}
	}
}

// expect waits for a message of a kind with these data, and returns its session.
func (p *program) expect(kind, data string) (session string) {
	p.t.Helper()
	if e := p.next(); e.kind != kind || e.data != data {
		p.t.Fatalf("the program got %s %q, want %s %q", e.kind, e.data, kind, data)
		return ""
	} else {
		return e.session
	}
}

// nothing checks that the program has got no more.
func (p *program) nothing() {
	p.t.Helper()
	select {
	case e := <-p.got:
		p.t.Errorf("the program got %+v, want nothing", e)
	default:
	}
}

// echo answers each message with itself.
func echo(p *program, e event) {
	if e.kind == typeMessage {
		p.say(typeMessage, e.session, e.data)
	}
}

// dismiss disconnects whoever connects.
func dismiss(p *program, e event) {
	if e.kind == typeConnect {
		p.say(typeDisconnect, e.session, "")
	}
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

// unused is a name that no other session has.
func unused(t testing.TB) string {
	return strings.ReplaceAll(t.Name(), "/", "_") + "-" + time.Now().Format("150405.000000")[7:]
}

func (g *gatewayUnderTest) session() string { return g.url + "/000/" + unused(g.t) }

// value is what a counter or a gauge says.
func value(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var written dto.Metric
	if err := m.Write(&written); err != nil {
		t.Fatal(err)
	}
	return written.GetCounter().GetValue() + written.GetGauge().GetValue()
}

var _ http.Handler = (*Server)(nil)
