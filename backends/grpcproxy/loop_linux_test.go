package grpcproxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketPair is two ends of a TCP connection.
func socketPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l := listen(t)
	defer func() { _ = l.Close() }()
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	if err := theirs.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// idleProxy has no listener.
func idleProxy(t *testing.T) *Proxy {
	t.Helper()
	p, err := New(everything("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, p) })
	return p
}

func shutDown(t *testing.T, p *Proxy) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestLoneCallerAndItsBackendShareALoop, whoever was there before; many of them are spread over all loops.
func TestLoneCallerAndItsBackendShareALoop(t *testing.T) {
	all := []*loop{{}, {}, {}}
	enter := func(toBackend bool) *loop {
		l := emptiest(all, toBackend)
		l.seats.of(toBackend).Add(1)
		return l
	}
	backend := enter(true)
	for n := range 5 {
		if caller := enter(false); caller != backend {
			t.Errorf("lone caller %d is not on its backend's loop", n)
		}
		backend.leave(false)
	}
	for range 6 {
		enter(false)
	}
	enter(true)
	var got [][2]int64
	for _, l := range all {
		got = append(got, [2]int64{l.seats.callers.Load(), l.seats.backends.Load()})
	}
	if want := [][2]int64{{2, 1}, {2, 1}, {2, 0}}; !slices.Equal(got, want) {
		t.Errorf("callers and backends are spread as %v, want %v", got, want)
	}
}

// TestConnectionThatIsOverLeavesItsLoop, whether it was served or not.
func TestConnectionThatIsOverLeavesItsLoop(t *testing.T) {
	p := idleProxy(t)
	var taken []*seat
	for _, served := range []bool{true, false} {
		ours, theirs := socketPair(t)
		cc := &callerConn{}
		cc.conn = newConn(p, ours, cc)
		taken = append(taken, cc.seat.(*seat))
		if !served {
			cc.drop()
			continue
		}
		p.tasks.Go(cc.serve)
		_ = theirs.Close()
	}
	shutDown(t, p) // waits for the one that was served
	for n, s := range taken {
		if !s.left {
			t.Errorf("connection %d counts still", n)
		}
	}
}

// TestClientOfStoppedProxyIsHungUpOn has a client come when the proxy has stopped: its descriptor was taken out already.
func TestClientOfStoppedProxyIsHungUpOn(t *testing.T) {
	p := idleProxy(t)
	shutDown(t, p)
	ours, theirs := socketPair(t)
	p.serveSocket(ours, nil)
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client read %v, want EOF", err)
	}
}

// TestBackendOfStoppedProxyIsHungUpOn is the same for a dial that was under way.
func TestBackendOfStoppedProxyIsHungUpOn(t *testing.T) {
	p := idleProxy(t)
	shutDown(t, p)
	ours, theirs := socketPair(t)
	target := newTarget(p.backends[0], place{})
	target.backend.Dial = dialFunc(func(context.Context) (net.Conn, error) { return ours, nil })
	if _, err := target.dial(t.Context()); err == nil {
		t.Error("there is a connection")
	}
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the backend read %v, want EOF", err)
	}
}

// TestFullSocketIsWrittenToOnceItIsWatched has a socket fill up before its connection is on a loop.
func TestFullSocketIsWrittenToOnceItIsWatched(t *testing.T) {
	ours, theirs := socketPair(t)
	cc := &callerConn{}
	cc.conn = newConn(idleProxy(t), ours, cc)
	sent := bytes.Repeat([]byte("x"), 16<<20) // more than the kernel takes
	cc.out.buffer().bytes = append(cc.out.buffer().bytes, sent...)
	cc.flush(new(batch))
	if cc.out.stuck == nil {
		t.Fatal("the socket took everything")
	}
	cc.proxy.tasks.Add(1)
	if err := cc.seat.watch(cc.conn); err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(theirs, make([]byte, len(sent))); err != nil {
		t.Errorf("after %d bytes of %d: %v", n, len(sent), err)
	}
	_ = theirs.Close() // the loop lets go
}

// TestSocketThatCannotBeWatchedLeavesNothingBehind uses a file, which epoll refuses.
func TestSocketThatCannotBeWatchedLeavesNothingBehind(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	ours, _ := socketPair(t)
	cc := &callerConn{}
	cc.conn = newConn(idleProxy(t), ours, cc)
	defer cc.drop()
	own := cc.batch
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	l := cc.seat.(*seat).loop
	refused := &seat{loop: l, fd: int32(fd), left: true}
	defer refused.close()
	if err := refused.watch(cc.conn); err == nil {
		t.Fatal("it is watched")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[int32(fd)] != nil {
		t.Error("the loop has it still")
	}
	if cc.batch != own {
		t.Error("it has the loop's batch still")
	}
}

// greedy is a socket that takes everything, while somebody has more to send each time.
type greedy struct {
	socket
	conn  *conn
	taken int
	limit int
	told  bool // to go on when the loop comes by
}

func (g *greedy) send(p []byte) (int, error) {
	if g.taken += len(p); g.taken < g.limit {
		g.conn.mu.Lock()
		buf := g.conn.out.buffer()
		buf.bytes = append(buf.bytes, p...)
		g.conn.mu.Unlock()
	}
	return len(p), nil
}

func (g *greedy) watchWritable(on bool) { g.told = on }

// TestFastReaderDoesNotKeepALoop is about the other connections of a loop, which wait while it writes.
func TestFastReaderDoesNotKeepALoop(t *testing.T) {
	ours, _ := socketPair(t)
	cc := &callerConn{}
	cc.conn = newConn(idleProxy(t), ours, cc)
	defer cc.drop()
	g := &greedy{socket: cc.seat, conn: cc.conn, limit: 64 << 20}
	cc.seat = g
	cc.out.buffer().bytes = make([]byte, 64<<10)
	cc.flush(new(batch))
	if g.taken > 2*turnBytesMax || !g.told {
		t.Fatalf("%d bytes were written in one turn, want about %d", g.taken, turnBytesMax)
	}
	for turns := 0; g.told; turns++ {
		if turns > g.limit/turnBytesMax {
			t.Fatalf("%d bytes in %d turns", g.taken, turns)
		}
		cc.writable(new(batch))
	}
	if g.taken < g.limit || cc.out.writing {
		t.Errorf("%d bytes were written, want %d", g.taken, g.limit)
	}
}

// trickle is a socket that has room for a little now and then, too little for the loop to be told.
type trickle struct {
	socket
	room int
}

func (s *trickle) send(p []byte) (int, error) {
	n := min(s.room, len(p))
	s.room -= n
	return n, nil
}

func (s *trickle) watchWritable(bool) {}

// TestSlowReaderIsNotTakenForDead has a peer that reads less in writeWait than EPOLLOUT asks for, and then nothing.
func TestSlowReaderIsNotTakenForDead(t *testing.T) {
	ours, _ := socketPair(t)
	cc := &callerConn{}
	cc.conn = newConn(idleProxy(t), ours, cc)
	defer cc.drop()
	cc.greeted.Store(true)
	s := &trickle{socket: cc.seat}
	cc.seat = s
	cc.out.buffer().bytes = make([]byte, 100)
	cc.flush(new(batch))
	late := func() time.Duration { return cc.proxy.now() + writeWait + time.Second }
	for range 3 {
		s.room = 1
		if cc.look(late(), new(batch)); cc.dead {
			t.Fatal("a peer that reads was given up")
		}
	}
	if cc.look(late(), new(batch)); !cc.dead {
		t.Error("a peer that reads nothing was not given up")
	}
}
