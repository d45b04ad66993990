package grpcproxy

// Event loops: the readers of plaintext connections on Linux, one loop a processor. Each is a goroutine with an epoll set
// of its own; it runs while it has connections, and a little longer.
//
// Rules of this file.
//
// A goroutine for each connection would cost two hand-overs by Go's scheduler a call, which is more than all else that the
// engine does. So a loop reads many connections, acts on what has come on all of them, and then writes: what it read from
// eight callers leaves for their backend in one write. Reads and writes are raw system calls that never wait (backends/relay
// tells why). Nothing that a loop calls may wait either.
//
// A connection belongs to its loop from watch until remove, and then to the goroutine that ends it. Readiness is
// level-triggered: each event is one read, and a connection with more to read is told again, after the others.
//
// Closing: others make a loop let go of a connection by shutting its reading down (hangUp). A descriptor is closed when
// nobody writes to it any more.

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gateway/internal/bare"
)

const (
	eventsMax = 128 // taken at once

	// busyEvents at once make a loop ask for more without telling the scheduler that it may wait.
	busyEvents = 4

	// loopYield is how often a loop lets other goroutines run, so that the scheduler need not interrupt it.
	loopYield = 5 * time.Millisecond

	// loopLinger is how long a loop without connections waits for the next one, in milliseconds.
	loopLinger = 50
)

type loop struct {
	epoll int
	seats seats

	mu      sync.Mutex // guards what follows
	running bool
	conns   map[int32]*conn // by descriptor

	// The loop's goroutine alone touches what follows.
	batch   batch
	events  [eventsMax]unix.EpollEvent
	ready   [eventsMax]*conn // whose events these are
	busy    bool             // there will be more events by the time that the last ones are served
	yielded time.Time
}

// processors is how many loops there may be, before any of them changed GOMAXPROCS.
var processors = runtime.GOMAXPROCS(0)

// loops are made when they are first needed. They serve all proxies.
var loops struct {
	sync.Mutex
	all []*loop
}

// seats are how many connections a loop has, or will have in a moment. They grow with loops locked.
type seats struct{ callers, backends atomic.Int64 }

func (s *seats) of(toBackend bool) *atomic.Int64 {
	if toBackend {
		return &s.backends
	}
	return &s.callers
}

// emptiest is the first of the loops with the fewest callers, or the fewest connections to backends. Counting them apart puts a
// lone caller and a lone backend on one loop, where no thread has to wake another on the way of a call there and back, and
// spreads many callers evenly whatever backends there are.
func emptiest(all []*loop, toBackend bool) *loop {
	var best *loop
	for _, l := range all {
		if best == nil || l.seats.of(toBackend).Load() < best.seats.of(toBackend).Load() {
			best = l
		}
	}
	return best
}

// enterLoop returns the loop for another connection, which leaves it in the end. Each new loop adds one to GOMAXPROCS, for the
// processor of Go's scheduler that it occupies while it waits, as in backends/relay.
func enterLoop(toBackend bool) (*loop, error) {
	loops.Lock()
	defer loops.Unlock()
	l := emptiest(loops.all, toBackend)
	if (l == nil || l.seats.of(toBackend).Load() > 0) && len(loops.all) < processors {
		epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		switch {
		case err == nil:
			runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
			l = &loop{epoll: epoll, conns: map[int32]*conn{}}
			loops.all = append(loops.all, l)
		case l == nil:
			return nil, os.NewSyscallError("epoll_create1", err)
		}
	}
	l.seats.of(toBackend).Add(1)
	return l, nil
}

// leave is called once for each enterLoop.
func (l *loop) leave(toBackend bool) { l.seats.of(toBackend).Add(-1) }

// run is the life of a loop's goroutine.
func (l *loop) run() {
	for {
		n := l.wait()
		l.mu.Lock()
		for i := range n {
			l.ready[i] = l.conns[l.events[i].Fd]
		}
		l.mu.Unlock()
		for i := range n {
			if c := l.ready[i]; c != nil {
				l.serve(c, l.events[i].Events)
			}
		}
		clear(l.ready[:n])
		l.batch.run()
		if l.batch.begun {
			l.batch.begun = false
			runtime.Gosched() // it runs here and now: to wake another thread for it takes longer than all that it does
		}
		if n == 0 && l.retire() {
			return
		}
	}
}

// wait gives the number of new events.
func (l *loop) wait() int {
	if now := time.Now(); now.Sub(l.yielded) >= loopYield {
		l.yielded = now
		runtime.Gosched()
	}
	if l.busy {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), eventsMax, 0, 0, 0)
		l.busy = errno == 0 && n >= busyEvents
		if errno == 0 && n > 0 {
			return int(n)
		}
	}
	l.mu.Lock()
	milliseconds := -1
	if len(l.conns) == 0 {
		milliseconds = loopLinger
	}
	l.mu.Unlock()
	n, err := unix.EpollWait(l.epoll, l.events[:], milliseconds)
	if err != nil {
		return 0 // EINTR; any other error would be a bug here
	}
	l.busy = n >= busyEvents
	return n
}

// serve acts on an event, and lets the connection go when it is over.
func (l *loop) serve(c *conn, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.writable(&l.batch)
	}
	if events&^unix.EPOLLOUT == 0 {
		return
	}
	if err := c.readable(); err != nil {
		l.remove(c)
		go func() {
			defer c.proxy.tasks.Done()
			c.end(err)
		}()
	}
}

// remove gives the connection to the goroutine that ends it.
func (l *loop) remove(c *conn) {
	fd := c.seat.(*seat).fd
	_ = watch(l.epoll, unix.EPOLL_CTL_DEL, fd, 0) // it was added
	l.mu.Lock()
	delete(l.conns, fd)
	l.mu.Unlock()
	c.batch = new(batch)
}

// retire ends the loop's goroutine if it has no connection.
func (l *loop) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = len(l.conns) > 0
	return !l.running
}

// seat is a connection's descriptor, and its place on a loop.
type seat struct {
	loop      *loop
	fd        int32
	toBackend bool
	left      bool // the loop
}

// takeSeat takes the descriptor out of a plaintext connection, which is of no use afterwards. It returns nil, and leaves
// the connection alone, where there is none to take. toBackend tells who made the connection.
func takeSeat(from net.Conn, toBackend bool) socket {
	l, err := enterLoop(toBackend)
	if err != nil {
		return nil
	}
	fd, ok := takeDescriptor(from)
	if !ok {
		l.leave(toBackend)
		return nil
	}
	return &seat{loop: l, fd: int32(fd), toBackend: toBackend}
}

func takeDescriptor(from net.Conn) (fd int, ok bool) {
	if b, isBare := from.(*bare.Conn); isBare {
		if fd, ok := b.Take(); ok {
			return fd, true
		}
		from = b.Used()
	}
	switch c := from.(type) {
	case *net.TCPConn:
		return duplicate(c)
	case *net.UnixConn:
		return duplicate(c)
	}
	return -1, false
}

// duplicate takes the connection away from Go's poller, which would be told of everything that arrives.
func duplicate(c interface {
	net.Conn
	syscall.Conn
}) (fd int, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, false
	}
	failed := raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if failed != nil || err != nil {
		return -1, false
	}
	_ = c.Close() // the socket lives on
	return fd, true
}

func (s *seat) watch(c *conn) error {
	l, fd := s.loop, s.fd // which the loop may soon give up
	own := c.batch
	c.batch = &l.batch
	l.mu.Lock()
	l.conns[fd] = c
	if !l.running {
		l.running = true
		go l.run()
	}
	l.mu.Unlock()
	c.mu.Lock()
	err := watch(l.epoll, unix.EPOLL_CTL_ADD, fd, wanted(c.out.stuck != nil)) // watchWritable had nothing to change so far
	c.mu.Unlock()
	if err != nil { // the loop has never seen it
		c.batch = own
		l.mu.Lock()
		delete(l.conns, fd)
		l.mu.Unlock()
	}
	return err
}

func (s *seat) watchWritable(on bool) {
	_ = watch(s.loop.epoll, unix.EPOLL_CTL_MOD, s.fd, wanted(on)) // it was added, or will be, or its end is near
}

// wanted is what a loop waits for.
func wanted(writable bool) (events uint32) {
	if writable {
		return unix.EPOLLIN | unix.EPOLLOUT
	}
	return unix.EPOLLIN
}

func watch(epoll int, op int, fd int32, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: fd}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

func (s *seat) recv(p []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN, errno == unix.EINTR:
		return 0, nil // the loop will be told again
	case errno != 0:
		return 0, os.NewSyscallError("recvfrom", errno)
	case n == 0:
		return 0, io.EOF
	}
	return int(n), nil
}

func (s *seat) send(p []byte) (int, error) {
	for sent := 0; ; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&p[sent])), uintptr(len(p)-sent), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return sent, nil
		case errno != 0:
			return sent, os.NewSyscallError("sendto", errno)
		default:
			if sent += int(n); sent == len(p) {
				return sent, nil
			}
		}
	}
}

func (s *seat) hangUp() { unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(s.fd), unix.SHUT_RD, 0) }

func (s *seat) ordinary() (net.Conn, error) {
	f := os.NewFile(uintptr(s.fd), "socket")
	s.fd = -1
	defer func() { _ = f.Close() }() // FileConn has a duplicate
	return net.FileConn(f)
}

func (s *seat) close() {
	if !s.left {
		s.left = true
		s.loop.leave(s.toBackend)
	}
	if s.fd >= 0 {
		_ = unix.Close(int(s.fd)) // whatever it says, it is closed
		s.fd = -1
	}
}
