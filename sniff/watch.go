package sniff

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
)

// tryAccepter is a listener that can be asked for a connection without waiting.
type tryAccepter interface {
	TryAccept() (net.Conn, error)
}

// watch has the connections of l accepted by Options.Watch, until something has to be waited for or Close or Retire begins. It
// tells whether there were any.
func (s *Server) watch(l net.Listener) (accepted bool) {
	from, ok := l.(tryAccepter)
	if !ok || s.options.Watch == nil {
		return false
	}
	var any atomic.Bool
	must := make(chan struct{}, 1) // wait
	stop, err := s.options.Watch(l, func() (again bool) {
		taken, again := s.tryAccept(from)
		if taken {
			any.Store(true)
		}
		if !again {
			select {
			case must <- struct{}{}:
			default:
			}
		}
		return again
	})
	if err != nil {
		return false
	}
	select {
	case <-must:
	case <-s.stopping.Done():
	}
	stop()
	return any.Load()
}

// tryAccept accepts a connection if that needs no waiting. again is false if the next one needs it.
func (s *Server) tryAccept(l tryAccepter) (taken, again bool) {
	if !s.connections.TryAcquire(1) {
		return false, false
	}
	if !s.sniffing.TryAcquire(1) {
		s.connections.Release(1)
		return false, false
	}
	raw, err := l.TryAccept()
	if err != nil {
		s.sniffing.Release(1)
		s.connections.Release(1)
		return false, errors.Is(err, syscall.EAGAIN) // another error will come again, or passes: Serve sees to both
	}
	s.admit(raw)
	return true, true
}
