package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"gateway/internal/zmtp"
)

// parseWorker reads the address of a worker.
func parseWorker(text string) (network, address string, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	switch {
	case scheme == "tcp":
		if host, port, err := net.SplitHostPort(rest); err == nil && host != "" && port != "" {
			return "tcp", rest, nil
		}
	case (scheme == "ipc" || scheme == "unix") && rest != "":
		return "unix", rest, nil
	}
	return "", "", fmt.Errorf("the worker's address %q: write tcp://host:port, ipc:///path or unix:///path", text)
}

// followWorker looks for the worker: at the start, and whenever it was found missing.
func (a *Agent) followWorker(ctx context.Context) {
	for failures := 0; ; {
		hello, err := a.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failures++
			if failures == 1 {
				a.options.Log.Warn("the worker does not answer; its slots are withdrawn until it does", "worker", a.options.Worker, "error", err)
			}
			select {
			case <-time.After(a.pause(failures)):
			case <-ctx.Done():
				return
			}
			continue
		}
		failures = 0
		a.options.Log.Info("the worker answers", "worker", a.options.Worker, "mechanism", hello.Mechanism, "minor", hello.Minor)
		a.mu.Lock()
		a.worker, a.up = hello, true
		a.mu.Unlock()
		a.settle()
		select {
		case <-a.missing:
			a.settle()
		case <-ctx.Done():
			return
		}
	}
}

// probe connects to the worker and reads its greeting. A worker that listens, but does not speak ZMTP 3, is there all the same.
func (a *Agent) probe(ctx context.Context) (Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, a.options.ConnectTimeout)
	defer cancel()
	conn, err := a.dialer.DialContext(ctx, a.network, a.address)
	if err != nil {
		return Hello{}, err
	}
	defer conn.Close()
	ctx, cancelGreeting := context.WithTimeout(ctx, greetingWait)
	defer cancelGreeting()
	greeting, err := zmtp.NewLadder(conn).Greeting(ctx)
	if err != nil {
		a.options.Log.Debug("the worker shows no ZMTP 3 greeting", "error", err)
		return Hello{}, nil
	}
	return Hello{Minor: greeting.Minor, Mechanism: string(greeting.Mechanism)}, nil
}

// followName looks the gateway's name up, again and again: an address that is new gets slots, one that is gone loses them.
func (a *Agent) followName(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		addrs, err := a.lookup(ctx)
		pause := a.options.ResolveEvery
		if err != nil {
			failures++
			pause = a.pause(failures)
			if failures == 1 {
				a.options.Log.Warn("the gateway's name could not be looked up; trying again", "gateway", a.options.Gateway, "error", err)
			}
		} else {
			failures = 0
			a.rename(addrs)
			a.settle()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

var errNoAddress = errors.New("the name has no address")

func (a *Agent) lookup(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, a.options.ConnectTimeout)
	defer cancel()
	ips, err := a.options.Lookup(ctx, a.host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, errNoAddress
	}
	addrs := make([]string, len(ips))
	for i, ip := range ips {
		addrs[i] = net.JoinHostPort(ip.Unmap().String(), a.port)
	}
	return addrs, nil
}

// rename makes addrs the gateways.
func (a *Agent) rename(addrs []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.gateways {
		g.gone = true
	}
	for _, addr := range addrs {
		if g := a.gateways[addr]; g != nil {
			g.gone = false
			continue
		}
		a.gateways[addr] = &gateway{addr: addr, slots: map[*slot]struct{}{}}
	}
}
