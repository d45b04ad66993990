package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"gateway/internal/inproc"
	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
)

// patience is how long a test waits for what must happen at once, on a machine that is busy with a lot else.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// greeter greets; a test writes what else it does in place.
type greeter struct {
	demov1.UnimplementedGreeterServer
	hello  func(context.Context, *demov1.HelloRequest) (*demov1.HelloReply, error)
	stream func(*demov1.HelloRequest, grpc.ServerStreamingServer[demov1.HelloReply]) error
	bidi   func(grpc.BidiStreamingServer[demov1.HelloRequest, demov1.HelloReply]) error

	mu     sync.Mutex
	poured []string // names of client streams that have ended
	open   int      // client streams that have begun
}

func hello(name string) *demov1.HelloReply {
	return &demov1.HelloReply{Message: "Hello, " + name + "!"}
}

func (g *greeter) SayHello(ctx context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
	if g.hello != nil {
		return g.hello(ctx, r)
	}
	return hello(r.Name), nil
}

func (g *greeter) SayHelloServerStream(r *demov1.HelloRequest, s grpc.ServerStreamingServer[demov1.HelloReply]) error {
	if g.stream != nil {
		return g.stream(r, s)
	}
	for i := range 3 {
		if err := s.Send(hello(fmt.Sprint(r.Name, i))); err != nil {
			return err
		}
	}
	return nil
}

func (g *greeter) SayHelloClientStream(s grpc.ClientStreamingServer[demov1.HelloRequest, demov1.HelloReply]) error {
	g.mu.Lock()
	g.open++
	g.mu.Unlock()
	var names []string
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			g.mu.Lock()
			g.poured = append(g.poured, names...)
			g.mu.Unlock()
			return s.SendAndClose(hello(strings.Join(names, ", ")))
		}
		if err != nil {
			return err
		}
		names = append(names, r.Name)
	}
}

func (g *greeter) SayHelloBidiStream(s grpc.BidiStreamingServer[demov1.HelloRequest, demov1.HelloReply]) error {
	if g.bidi != nil {
		return g.bidi(s)
	}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(hello(r.Name)); err != nil {
			return err
		}
	}
}

// startGreeter serves g, with reflection, and returns what calls it.
func startGreeter(t testing.TB, g *greeter) *Calls {
	t.Helper()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	demov1.RegisterGreeterServer(server, g)
	reflection.Register(server)
	return serveCalls(t, server)
}

// serveCalls runs a server until the test ends, and returns what calls it.
func serveCalls(t testing.TB, server *grpc.Server) *Calls {
	t.Helper()
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("service: %v", err)
		}
	})
	return callsTo(t, l.Addr().String())
}

// callsTo is what an Inlet gets to call a server at an address: bytes are carried between the two.
func callsTo(t testing.TB, address string) *Calls {
	t.Helper()
	var carrying sync.WaitGroup
	calls := NewCalls(func(ctx context.Context) (*inproc.Conn, error) {
		server, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		ours, theirs := inproc.Pipe()
		carry := func(to, from net.Conn) {
			_, _ = io.Copy(to, from) // until either ends
			_, _ = to.Close(), from.Close()
		}
		carrying.Go(func() { carry(server, theirs) })
		carrying.Go(func() { carry(theirs, server) })
		return ours, nil
	})
	t.Cleanup(func() {
		calls.Close()
		carrying.Wait()
	})
	return calls
}

// inletOf is an Inlet on a port of its own.
type inletOf struct {
	*Inlet
	endpoint string
	outcomes chan Outcome
}

// startInlet serves a plan. The test fails if the inlet does not end in the end.
func startInlet(t testing.TB, socket zmtp.SocketType, plan Plan) inletOf {
	t.Helper()
	return serveInlet(t, InletOptions{Name: "block", Socket: socket, Service: new(Meter).Service("block")}, plan)
}

func serveInlet(t testing.TB, o InletOptions, plan Plan) inletOf {
	t.Helper()
	return serveInletOn(t, listen(t), o, plan)
}

func serveInletOn(t testing.TB, l net.Listener, o InletOptions, plan Plan) inletOf {
	t.Helper()
	i, err := NewInlet(o)
	must(t, err)
	must(t, i.SetPlan(&plan))
	in := inletOf{i, l.Addr().Network() + "://" + l.Addr().String(), make(chan Outcome, 1000)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			i.ServeConn(context.Background(), zmtp.NewLadder(c), c.RemoteAddr(), func(o Outcome) { in.outcomes <- o })
		}
	})
	t.Cleanup(func() {
		must(t, l.Close())
		accepting.Wait()
		in.stop()
	})
	return in
}

// stop cuts whoever is there.
func (i inletOf) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	i.Shutdown(ctx)
}

const (
	sayHello     = demov1.Greeter_SayHello_FullMethodName
	serverHellos = demov1.Greeter_SayHelloServerStream_FullMethodName
	clientHellos = demov1.Greeter_SayHelloClientStream_FullMethodName
	bidiHellos   = demov1.Greeter_SayHelloBidiStream_FullMethodName
)

// peer is a ZeroMQ socket of ours that is connected to an endpoint or bound to one.
type peer struct {
	*zmtp.Socket
	t      testing.TB
	served chan struct{} // closed when a bound one listens no more
}

func newPeer(t testing.TB, kind zmtp.SocketType, security ...zmtp.Security) peer {
	t.Helper()
	o := zmtp.SocketOptions{
		Options:      zmtp.Options{SocketType: kind, MessageBytesMax: 64 << 20},
		ReconnectMin: 5 * time.Millisecond, ReconnectMax: 50 * time.Millisecond,
	}
	if len(security) > 0 {
		o.Security = security[0]
	}
	s, err := zmtp.NewSocket(o)
	must(t, err)
	p := peer{Socket: s, t: t}
	t.Cleanup(p.kill)
	return p
}

// kill closes the peer without a word.
func (p peer) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Close(ctx) // what was not sent is no concern here
}

func connected(t testing.TB, kind zmtp.SocketType, endpoint string, security ...zmtp.Security) peer {
	t.Helper()
	p := newPeer(t, kind, security...)
	must(t, p.Connect(endpoint))
	return p
}

// bound is a peer on a port of its own.
func bound(t testing.TB, kind zmtp.SocketType, security ...zmtp.Security) (p peer, endpoint string) {
	t.Helper()
	return boundTo(t, listen(t), kind, security...)
}

func boundTo(t testing.TB, l net.Listener, kind zmtp.SocketType, security ...zmtp.Security) (p peer, endpoint string) {
	t.Helper()
	p = newPeer(t, kind, security...)
	p.served = make(chan struct{})
	go func() {
		defer close(p.served)
		if err := p.Serve(l); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(p.leave)
	return p, l.Addr().Network() + "://" + l.Addr().String()
}

// leave is kill of a bound peer, whose address is free then.
func (p peer) leave() {
	p.kill()
	<-p.served
}

// listenUnix listens at a path: what is freed there, unlike a port, nobody else takes.
func listenUnix(t testing.TB, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	must(t, err)
	return l
}

func (p peer) send(frames ...string) {
	p.t.Helper()
	m := &zmtp.Message{}
	for _, f := range frames {
		m.Append([]byte(f))
	}
	if err := p.Send(testContext(p.t), m); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

func (p peer) recv() []string {
	p.t.Helper()
	m := &zmtp.Message{}
	if err := p.Recv(testContext(p.t), m); err != nil {
		p.t.Fatalf("receive: %v", err)
	}
	frames := make([]string, m.Len())
	for i := range frames {
		frames[i] = string(m.Part(i))
	}
	return frames
}

func want(t testing.TB, got []string, frames ...string) {
	t.Helper()
	if !slices.Equal(got, frames) {
		t.Fatalf("got %.100q, want %.100q", got, frames)
	}
}

// wantStatus holds the last two of these frames against a status.
func wantStatus(t testing.TB, got []string, code codes.Code, text string, before ...string) {
	t.Helper()
	m := &zmtp.Message{}
	for _, f := range got {
		m.Append([]byte(f))
	}
	s, is := statusOf(m, len(before))
	if !is || !slices.Equal(got[:len(before)], before) {
		t.Fatalf("got %.100q, want a status", got)
	}
	if s.Code() != code || !strings.Contains(s.Message(), text) {
		t.Errorf("got %v, want %v with %q", s.Err(), code, text)
	}
}

// request and reply are what payload proto carries.
func request(name string) string { return encoded(&demov1.HelloRequest{Name: name}) }

func reply(name string) string { return encoded(hello(name)) }

func encoded(m proto.Message) string {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err) // a message of this file
	}
	return string(data)
}

// startBackend makes a Backend, and a connection whose calls it gets.
func startBackend(t testing.TB, o BackendOptions) (*Backend, *grpc.ClientConn) {
	t.Helper()
	o.Name = "service"
	if o.ReconnectMin == 0 {
		o.ReconnectMin, o.ReconnectMax = 5*time.Millisecond, 50*time.Millisecond
	}
	b, err := NewBackend(o)
	must(t, err)
	conn, err := grpc.NewClient("passthrough:///service", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return b.Dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	must(t, err)
	t.Cleanup(func() {
		must(t, conn.Close())
		b.Shutdown(testContext(t))
	})
	return b, conn
}

func wantCode(t testing.TB, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, want %v with %q", err, code, text)
	}
}
