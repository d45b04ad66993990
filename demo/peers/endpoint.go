package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// ParseEndpoint takes an address as ZeroMQ writes it (tcp://host:port, ipc://path), the gateway's unix://path, or a
// plain host:port, and returns what package net wants. "tcp://*:port" means every interface, as in ZeroMQ.
func ParseEndpoint(endpoint string) (network, address string, err error) {
	scheme, rest, found := strings.Cut(endpoint, "://")
	if !found {
		scheme, rest = "tcp", endpoint
	}
	switch scheme {
	case "ipc", "unix":
		if rest == "" {
			return "", "", fmt.Errorf("address %q: a path is missing, as in %s:///run/peer.sock", endpoint, scheme)
		}
		return "unix", rest, nil
	case "tcp":
		host, port, err := net.SplitHostPort(rest)
		if err != nil || port == "" {
			return "", "", fmt.Errorf("address %q: want host:port, as in 127.0.0.1:5555", endpoint)
		}
		if host == "*" {
			host = ""
		}
		return "tcp", net.JoinHostPort(host, port), nil
	}
	return "", "", fmt.Errorf("address %q: %s:// is not known; want tcp://, ipc:// or unix://", endpoint, scheme)
}

// Listen opens the listener of a server. An address in use is an error that says so.
func Listen(ctx context.Context, endpoint string) (net.Listener, error) {
	network, address, err := ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program listens on %s already: %w", address, err)
	}
	return l, err
}

// dial connects to an endpoint within dialWait.
func dial(ctx context.Context, endpoint string) (net.Conn, error) {
	network, address, err := ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{Timeout: dialWait}).DialContext(ctx, network, address)
}

// connected is the text of a Connected event. The local port is what the far side and the gateway call the client by.
func connected(endpoint string, conn net.Conn) string {
	if conn.LocalAddr().Network() == "unix" {
		return "to " + endpoint
	}
	return fmt.Sprintf("to %s from %s", endpoint, conn.LocalAddr())
}
