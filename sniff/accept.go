package sniff

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Back-off after an accept that failed: without it a process out of descriptors spins, for the connection that it cannot
// accept stays in the backlog and Accept fails at once, again and again.
const (
	acceptDelayMin = 5 * time.Millisecond
	acceptDelayMax = time.Second
)

// Patient makes Accept of l wait where its error passes, for servers that end at the first one. Closing it ends the wait.
func Patient(l net.Listener) net.Listener {
	return &patient{Listener: l, closed: make(chan struct{})}
}

type patient struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
}

func (p *patient) Accept() (net.Conn, error) {
	for delay := nextDelay(0); ; delay = nextDelay(delay) {
		c, err := p.Listener.Accept()
		if err == nil {
			return c, nil
		}
		if _, passes := acceptReason(err); !passes {
			return nil, err
		}
		select {
		case <-time.After(delay):
		case <-p.closed:
			return nil, net.ErrClosed
		}
	}
}

func (p *patient) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

func nextDelay(delay time.Duration) time.Duration {
	return min(max(2*delay, acceptDelayMin), acceptDelayMax)
}

// passing are the errors of accept(2) that leave the listener usable, with their names in metrics: resources that run
// out, and errors of the connection itself, which Linux reports through accept.
var passing = []struct {
	errno  syscall.Errno
	reason string
}{
	{syscall.EMFILE, "EMFILE"},
	{syscall.ENFILE, "ENFILE"},
	{syscall.ENOBUFS, "ENOBUFS"},
	{syscall.ENOMEM, "ENOMEM"},
	{syscall.ECONNABORTED, "ECONNABORTED"},
	{syscall.ECONNRESET, "ECONNRESET"},
	{syscall.EPROTO, "EPROTO"},
	{syscall.EPERM, "EPERM"}, // a firewall rule forbids this connection
	{syscall.ENETDOWN, "ENETDOWN"},
	{syscall.ENETUNREACH, "ENETUNREACH"},
	{syscall.EHOSTDOWN, "EHOSTDOWN"},
	{syscall.EHOSTUNREACH, "EHOSTUNREACH"},
	{syscall.ENOPROTOOPT, "ENOPROTOOPT"},
	{syscall.EOPNOTSUPP, "EOPNOTSUPP"},
}

// acceptReason names err for metrics, and tells whether accepting can go on after a pause.
func acceptReason(err error) (reason string, passes bool) {
	for _, p := range passing {
		if errors.Is(err, p.errno) {
			return p.reason, true
		}
	}
	return "other", false
}
