// Package handover lets listening sockets outlive a process, so that nobody who connects is ever refused.
//
// A process gets sockets from two sides: from the service manager that started it (systemd socket activation, the LISTEN_FDS
// protocol of sd_listen_fds(3)) and from the process before it, which handed over. Both are taken in by Inherit. Whoever wants
// to listen asks Sockets.Listen, which gives what was inherited for that address and binds what was not.
//
//	sockets, predecessor, err := handover.Inherit()
//	...
//	l, err := sockets.Listen("tcp", "0.0.0.0:5555")
//	...
//	predecessor.Ready() // it stops accepting now
//
// Sockets.Pass starts this program anew with every socket in use and returns when that process said that it is ready; both
// then have the sockets, and what waits in their backlog is accepted by whichever is left. If the new process ends, or is not
// ready in time, nothing has changed, and the error says why.
//
// On a handover the new process finds these in its environment; they are removed before anything else can inherit them:
//
//	GATEWAY_HANDOVER  JSON: the socket's network and address as Listen was asked for them, in the order of descriptors 3, 4, ...
//	                  The descriptor after the last socket is a pipe: what is written to it is why the start failed, unless it
//	                  ends with the line "ready".
package handover

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

const (
	handoverEnv   = "GATEWAY_HANDOVER"
	descriptorMin = 3 // the first after standard input, output and error
)

// place is where a socket listens, as Listen was asked for it.
type place struct{ Network, Addr string }

func (p place) String() string { return p.Network + " " + p.Addr }

// Socket is a listening socket of a Sockets.
type Socket struct {
	net.Listener
	place place
	owner *Sockets
}

// Sockets are the listening sockets of this process. The zero value has inherited none. It is safe for concurrent use.
type Sockets struct {
	mu        sync.Mutex
	inherited []*Socket // that nobody has asked for yet
	used      []*Socket
}

// Inherit takes in the sockets that this process was started with. predecessor is who handed them over; it is never nil, but
// without a handover it is told to no one. It is called once, at the start, before anything else opens descriptors.
func Inherit() (s *Sockets, predecessor *Predecessor, err error) {
	s, predecessor = &Sockets{}, &Predecessor{}
	text, handedOver := os.LookupEnv(handoverEnv)
	os.Unsetenv(handoverEnv)
	for n, f := range activation.Files(true) {
		if err := s.adopt(f, place{}); err != nil {
			return nil, nil, fmt.Errorf("descriptor %d from the service manager (LISTEN_FDS) is no listening stream socket: %w", descriptorMin+n, err)
		}
	}
	if !handedOver {
		return s, predecessor, nil
	}
	var places []place
	if err := json.Unmarshal([]byte(text), &places); err != nil {
		return nil, nil, fmt.Errorf("%s is only for `gateway upgrade` to set: %w", handoverEnv, err)
	}
	for n, p := range places {
		if err := s.adopt(os.NewFile(uintptr(descriptorMin+n), p.String()), p); err != nil {
			return nil, nil, fmt.Errorf("descriptor %d from the process before is no listening socket: %w", descriptorMin+n, err)
		}
	}
	pipe := descriptorMin + len(places)
	syscall.CloseOnExec(pipe)
	predecessor.pipe = os.NewFile(uintptr(pipe), "predecessor")
	return s, predecessor, nil
}

// adopt makes an inherited descriptor a socket. The file is closed: the socket has a descriptor of its own, close-on-exec.
func (s *Sockets) adopt(f *os.File, p place) error {
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	if u, ok := l.(*net.UnixListener); ok && p != (place{}) {
		u.SetUnlinkOnClose(true) // the process before leaves it to us; a service manager removes its own
	}
	s.inherited = append(s.inherited, &Socket{Listener: l, place: p, owner: s})
	return nil
}

// Listen gives a socket that listens on addr, "host:port" or the path of a unix socket: an inherited one, or a new one.
// The network is "tcp" or "unix". A unix socket that an ended process left there is replaced.
func (s *Sockets) Listen(network, addr string) (*Socket, error) {
	p := place{network, addr}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.inherited, func(have *Socket) bool { return have.place == p })
	if at < 0 {
		at = slices.IndexFunc(s.inherited, func(have *Socket) bool { return have.place == place{} && same(have.Addr(), p) })
	}
	if at >= 0 {
		found := s.inherited[at]
		found.place = p
		s.inherited = slices.Delete(s.inherited, at, at+1)
		s.used = append(s.used, found)
		return found, nil
	}
	if network == "unix" {
		removeStale(addr)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // its sockets refuse options that TCP's hand on to what they accept
	l, err := config.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, err
	}
	made := &Socket{Listener: l, place: p, owner: s}
	s.used = append(s.used, made)
	return made, nil
}

// same tells whether a socket that listens on have is what p asks for. All ways to write "every address" are one.
func same(have net.Addr, p place) bool {
	if have.Network() != p.Network {
		return false
	}
	tcp, ok := have.(*net.TCPAddr)
	if !ok {
		return have.String() == p.Addr
	}
	want, err := net.ResolveTCPAddr(p.Network, p.Addr)
	if err != nil || want.Port != tcp.Port {
		return false
	}
	every := func(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }
	return want.IP.Equal(tcp.IP) || every(want.IP) && every(tcp.IP)
}

// removeStale removes a unix socket that an ended process left: nobody answers there.
func removeStale(path string) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	c, err := net.Dial("unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path) // if that fails, listening says why
	} else if err == nil {
		c.Close()
	}
}

// Rest tells which inherited sockets nobody has asked for: clients that connect there wait in vain. Those that the process
// before has handed over are closed, since it is about to close them too; those of the service manager stay, for later.
func (s *Sockets) Rest() (unused []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inherited = slices.DeleteFunc(s.inherited, func(have *Socket) bool {
		if have.place != (place{}) {
			have.Listener.Close()
			return true
		}
		unused = append(unused, have.Addr().String())
		return false
	})
	return unused
}

// Close stops listening in this process.
func (s *Socket) Close() error {
	s.owner.mu.Lock()
	s.owner.used = slices.DeleteFunc(s.owner.used, func(used *Socket) bool { return used == s })
	s.owner.mu.Unlock()
	return s.Listener.Close()
}

// Share gives another listener on the same socket. Closing it leaves the socket as it is.
func (s *Socket) Share() (net.Listener, error) {
	f, err := s.file()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// file is a copy of the descriptor. It is made by hand: the File of a net.Listener turns the socket, which all copies share,
// to blocking mode as soon as it is passed to another process, and an Accept that blocks in the kernel cannot be ended.
func (s *Socket) file() (*os.File, error) {
	l, ok := s.Listener.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("copy the socket of a %T: %w", s.Listener, errors.ErrUnsupported)
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(open uintptr) { fd, failed = unix.FcntlInt(open, unix.F_DUPFD_CLOEXEC, 0) })
	if err = cmp.Or(err, failed); err != nil {
		return nil, fmt.Errorf("copy the socket of %s: %w", s.Addr(), err)
	}
	return os.NewFile(uintptr(fd), s.place.String()), nil
}

// Predecessor is the process that handed its sockets over.
type Predecessor struct{ pipe *os.File }

// readyLine ends what a process says that has started.
const readyLine = "ready\n"

// Exists tells whether this process was started by a handover.
func (p *Predecessor) Exists() bool { return p.pipe != nil }

// Write tells it why the start fails. It never fails itself.
func (p *Predecessor) Write(why []byte) (int, error) {
	if p.pipe != nil {
		p.pipe.Write(why) // a predecessor that has left needs no answer
	}
	return len(why), nil
}

// Ready tells it that this process serves now. It is called once.
func (p *Predecessor) Ready() {
	if p.pipe != nil {
		p.pipe.WriteString(readyLine)
		p.pipe.Close()
	}
}

// cutReady takes the last line off what a new process said.
func cutReady(said string) (why string, ready bool) {
	why, ready = strings.CutSuffix(said, readyLine)
	return strings.TrimSpace(why), ready
}
