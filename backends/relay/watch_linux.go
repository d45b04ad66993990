package relay

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"gateway/internal/bare"
)

// A door is a listening socket that the loops watch, so that a connection is accepted by a thread that is awake anyway, as a
// rule, and needs no wake-up of the Go scheduler. Its rules:
//
//   - The loops call ready, several at a time, holding the door's mutex for reading. stop takes it for writing: once stop has
//     returned no call runs and none will come.
//   - Few loops watch it, and a connection wakes them all. EPOLLEXCLUSIVE would wake one: while a reload or an upgrade has two
//     doors to the same socket, that may be one of the door that is about to stop, and nobody would ever accept the connection.
//   - The door has a descriptor of its own, for closing another one of the socket would not end the watch.
//   - It is watched level-triggered, one call an event: relays get their turn between two connections.
type door struct {
	ready func() (again bool)
	fd    int32
	id    int32

	mu      sync.RWMutex
	stopped bool
}

// doorLoopsMax is how many loops watch a door: with more, most wake-ups would find the connection taken.
const doorLoopsMax = 4

// doorPad marks the events of doors. Those of pairs have their way there, and a loop's own has 0.
const doorPad = 2

var lastDoor atomic.Int32

// Watch calls ready on an event loop for each connection that waits to be accepted from listener, until ready returns false or
// stop is called. ready must not block; it may be called by several loops at a time. When it has returned false it may
// still be called by another loop, so stop is due in any case. It is called once, by another goroutine than ready's, and returns
// when no call runs. Only a [bare.Listener] can be watched; an error means that ready is never called.
func Watch(listener net.Listener, ready func() (again bool)) (stop func(), err error) {
	l, ok := listener.(*bare.Listener)
	if !ok {
		return nil, fmt.Errorf("relay: watch a %T: %w", listener, errors.ErrUnsupported)
	}
	all, err := allLoops()
	if err != nil {
		return nil, fmt.Errorf("relay: make an event loop: %w", err)
	}
	fd, err := l.Duplicate()
	if err != nil {
		return nil, fmt.Errorf("relay: watch a listener: %w", err)
	}
	d := &door{ready: ready, fd: int32(fd), id: lastDoor.Add(1)}
	some := all[:min(len(all), doorLoopsMax)]
	stop = func() { d.close(some) }
	for _, l := range some {
		if err := l.watchDoor(d); err != nil {
			stop()
			return nil, fmt.Errorf("relay: watch a listener: %w", err)
		}
	}
	return stop, nil
}

// watchDoor makes the loop one of those that d's connections wake.
func (l *loop) watchDoor(d *door) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doors == nil {
		l.doors = make(map[int32]*door)
	}
	l.doors[d.id] = d
	l.start()
	return watch(l.epoll, unix.EPOLL_CTL_ADD, d.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: d.id, Pad: doorPad})
}

func (d *door) close(loops []*loop) {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	for _, l := range loops {
		l.forgetDoor(d)
	}
	closeFD(d.fd)
}

func (l *loop) forgetDoor(d *door) {
	l.mu.Lock()
	delete(l.doors, d.id)
	l.mu.Unlock()
	d.leave(l)
	l.signal() // it may have nothing to wait for any more
}

// leave ends the loop's watch. It fails where that has ended already.
func (d *door) leave(l *loop) { _ = watch(l.epoll, unix.EPOLL_CTL_DEL, d.fd, &unix.EpollEvent{}) }

// answer calls ready for the door of an event.
func (l *loop) answer(id int32) {
	l.mu.Lock()
	d := l.doors[id]
	l.mu.Unlock()
	if d == nil {
		return // it was closed meanwhile
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if !d.stopped && !d.ready() {
		d.leave(l)
	}
}

// watchesDoors tells whether the loop has more to wait for than its pairs.
func (l *loop) watchesDoors() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.doors) > 0
}
