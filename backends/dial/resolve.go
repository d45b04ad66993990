package dial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// addressesMax is how many addresses of one name are used.
	addressesMax = 64

	// resolveMin is how soon a name is looked up again when the lookup, or a dial to it, has failed.
	resolveMin = time.Second
)

// endpoint is a configured target and the addresses it stands for now. The Backend's mutex guards what changes.
type endpoint struct {
	backend *Backend
	address
	targets  []*Target // the listed ones first, in the order of the answer
	err      error     // of the last lookup
	resolved time.Duration
	lookup   chan struct{} // closed when the running lookup is over; nil when none is running
	failed   bool          // a dial has failed since the last lookup
}

// refresh starts a lookup when one is due. It needs the Backend's mutex.
func (e *endpoint) refresh(now time.Duration) {
	if e.host == "" || e.lookup != nil {
		return
	}
	wait := e.backend.options.ResolveEvery
	if e.failed || e.err != nil {
		wait = min(wait, resolveMin)
	}
	if e.resolved != 0 && now-e.resolved < wait {
		return
	}
	e.lookup = make(chan struct{})
	go e.resolve()
}

// resolve looks the name up, bounded by the connect time-out: a client may be waiting for the answer.
func (e *endpoint) resolve() {
	b := e.backend
	ctx, cancel := context.WithTimeout(context.Background(), b.options.ConnectTimeout)
	addresses, err := b.options.Lookup(ctx, e.host)
	cancel()

	b.mu.Lock()
	defer b.mu.Unlock()
	e.resolved, e.failed, e.err = b.now(), false, err
	if err == nil && len(addresses) == 0 {
		e.err = fmt.Errorf("%s: %w", e.host, ErrNoAddress)
	}
	if e.err == nil { // otherwise the old addresses are the best that is known
		e.list(addresses)
	}
	close(e.lookup)
	e.lookup = nil
}

// list makes the addresses those of the endpoint; those it had keep their state.
func (e *endpoint) list(addresses []netip.Addr) {
	old := e.targets
	for _, t := range old {
		t.listed = false
	}
	e.targets = make([]*Target, 0, len(addresses))
	for _, a := range addresses[:min(len(addresses), addressesMax)] {
		e.add(net.JoinHostPort(a.Unmap().String(), e.port), old)
	}
	for _, t := range old {
		if !t.listed && t.open > 0 {
			e.targets = append(e.targets, t)
		}
	}
	e.backend.relist()
}

// add lists one address, with the state it has in old, if any.
func (e *endpoint) add(address string, old []*Target) {
	same := func(t *Target) bool { return t.Address == address }
	if slices.ContainsFunc(e.targets, same) {
		return
	}
	t := &Target{Name: e.text, Address: address, backend: e.backend, endpoint: e}
	if i := slices.IndexFunc(old, same); i >= 0 {
		t = old[i]
	}
	t.listed = true
	e.targets = append(e.targets, t)
}

// forget drops an address that is neither listed nor used.
func (e *endpoint) forget(t *Target) {
	if i := slices.Index(e.targets, t); i >= 0 {
		e.targets = slices.Delete(e.targets, i, i+1)
	}
}

// allEjected tells whether no address of the endpoint is in use.
func (e *endpoint) allEjected(now time.Duration) bool {
	listed := false
	for _, t := range e.targets {
		if t.listed {
			listed = true
			if !t.ejected(now) {
				return false
			}
		}
	}
	return listed
}

func lookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
