package dial

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// unixPathBytesMax is what fits sockaddr_un with its closing zero (unix(7)).
const unixPathBytesMax = 107

// address is a configured target, taken apart.
type address struct {
	text    string // as configured
	network string // "tcp" or "unix"
	host    string // a name that has to be looked up; empty for literal addresses and unix sockets
	port    string // beside host
	literal string // what to dial, unless host is set
}

// parseTarget takes a configured target apart.
func parseTarget(text string) (address, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return address{}, fmt.Errorf("target %q has no scheme: write tcp://host:port, unix:///path or ipc:///path", text)
	}
	switch scheme {
	case "tcp":
		return parseTCP(text, rest)
	case "unix", "ipc":
		return parseUnix(text, scheme, rest)
	}
	return address{}, fmt.Errorf("target %q: unknown scheme %q: write tcp://host:port, unix:///path or ipc:///path", text, scheme)
}

func parseTCP(text, hostport string) (address, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return address{}, fmt.Errorf("target %q: write tcp://host:port: %w", text, err)
	}
	if host == "" || host == "*" {
		return address{}, fmt.Errorf("target %q names no host: a target is dialled, so write where, for example tcp://127.0.0.1:%s", text, port)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return address{}, fmt.Errorf("target %q: port %q is not a number from 1 to 65535", text, port)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return address{text: text, network: "tcp", literal: hostport}, nil
	}
	return address{text: text, network: "tcp", host: host, port: port}, nil
}

func parseUnix(text, scheme, path string) (address, error) {
	switch {
	case path == "" || path[0] != '/' && path[0] != '@':
		return address{}, fmt.Errorf("target %q: write %s:///absolute/path, or %s://@name for an abstract socket", text, scheme, scheme)
	case len(path) > unixPathBytesMax:
		return address{}, fmt.Errorf("target %q: the path has %d bytes, a socket's may have %d", text, len(path), unixPathBytesMax)
	}
	return address{text: text, network: "unix", literal: path}, nil
}

// Target is one address that connections can go to. The Backend's mutex guards all but the first three fields, which never
// change.
type Target struct {
	Name    string // as configured, tcp://worker.example:3333
	Address string // what is dialled, 10.0.0.7:3333

	backend      *Backend
	endpoint     *endpoint
	listed       bool // false: the name does not stand for this address any more
	open         int  // connections that are dialled or open
	failures     int  // in a row, those while ejected not counted
	ejectedUntil time.Duration
	slowUntil    time.Duration // it had to be waited for when it was tried at once
	lastErr      error
	lastErrAt    time.Duration

	near atomic.Bool // it has answered at once; not guarded
}

// Release tells that a connection that Dial gave has ended.
func (t *Target) Release() {
	t.backend.mu.Lock()
	defer t.backend.mu.Unlock()
	t.release()
}

// release needs the Backend's mutex.
func (t *Target) release() {
	t.open--
	if t.open == 0 && !t.listed {
		t.endpoint.forget(t)
	}
}

func (t *Target) ejected(now time.Duration) bool { return now < t.ejectedUntil }
