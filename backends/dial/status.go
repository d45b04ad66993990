package dial

import (
	"context"
	"time"

	"gateway/backends/relay"
)

// Status is one address as it stands.
type Status struct {
	Target     string        // as configured
	Address    string        // what is dialled; empty when the name has not been looked up, or not with success
	Open       int           // connections that are dialled or open
	Failures   int           // in a row
	EjectedFor time.Duration // how long it will still be left out; 0 when it is not
	LastError  string        // of the last dial or lookup that failed; empty when none has
	LastFailed time.Duration // how long ago that was
}

// Status tells how the targets stand, in the order in which they were configured.
func (b *Backend) Status() []Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	var all []Status
	for _, e := range b.endpoints {
		for _, t := range e.targets {
			s := Status{Target: t.Name, Address: t.Address, Open: t.open, Failures: t.failures, EjectedFor: max(0, t.ejectedUntil-now)}
			if t.lastErr != nil {
				s.LastError, s.LastFailed = cause(t.lastErr).Error(), now-t.lastErrAt
			}
			all = append(all, s)
		}
		if e.err != nil {
			all = append(all, Status{Target: e.text, LastError: e.err.Error(), LastFailed: now - e.resolved})
		}
	}
	return all
}

// LeftOut tells of each target, as configured, whether all its addresses are left out.
func (b *Backend) LeftOut() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	all := make(map[string]bool, len(b.endpoints))
	for _, e := range b.endpoints {
		all[e.text] = e.allEjected(now)
	}
	return all
}

// Live tells how many relayed connections have not ended.
func (b *Backend) Live() int { return b.group.Live() }

// Flows tells what went from which listener to which target.
func (b *Backend) Flows() []relay.FlowStatus { return b.group.Flows() }

// Connections gives up to limit relayed connections as they stand, the youngest first; a is the client.
func (b *Backend) Connections(limit int) []relay.Live { return b.group.Snapshot(limit) }

// Shutdown waits for the relayed connections until ctx is done, cuts those that are left and tells how many they were; see
// relay.Group.
func (b *Backend) Shutdown(ctx context.Context) (cut int) { return b.group.Shutdown(ctx) }

// relist collects the listed addresses. It needs the mutex.
func (b *Backend) relist() {
	b.listed = nil
	for _, e := range b.endpoints {
		for _, t := range e.targets {
			if t.listed {
				b.listed = append(b.listed, t)
			}
		}
	}
}
