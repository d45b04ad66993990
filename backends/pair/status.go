package pair

import (
	"cmp"
	"slices"
	"time"

	"gateway/backends/relay"
	"gateway/internal/zmtp"
)

// Progress is how far a pair's handshake has come.
type Progress string

// The states of a handshake. Without a gate nobody looks.
const (
	HandshakeUnseen  Progress = "unseen"
	HandshakePending Progress = "pending"
	HandshakeDone    Progress = "done"
)

// Status is who waits and who is paired. Each list has at most as many entries as were asked for; the counts tell how many
// there are.
type Status struct {
	Parked     int              `json:"parked"`
	Waiting    int              `json:"waiting"`
	Paired     int              `json:"paired"`
	Identities []IdentityStatus `json:"identities,omitempty"` // by name
	Workers    []WorkerStatus   `json:"workers,omitempty"`    // parked, the oldest first
	Clients    []ClientStatus   `json:"clients,omitempty"`    // waiting, the oldest first
	Pairs      []PairStatus     `json:"pairs,omitempty"`      // the oldest first
}

// IdentityStatus is an agent, or a machine whose workers connect by themselves.
type IdentityStatus struct {
	Name      string `json:"name"`
	Free      int    `json:"free"`      // parked workers
	Busy      int    `json:"busy"`      // workers with a client
	Elsewhere int    `json:"elsewhere"` // clients that its agent serves besides, by what it last said
	Wanted    int    `json:"wanted"`    // clients that wait for it alone
}

// WorkerStatus is a worker without a client.
type WorkerStatus struct {
	Address   string         `json:"address"`
	Name      string         `json:"name"` // of its identity
	Agent     bool           `json:"agent"`
	Mechanism zmtp.Mechanism `json:"mechanism"` // empty without a gate
	Age       float64        `json:"age_seconds"`
}

// ClientStatus is a client without a worker.
type ClientStatus struct {
	Address   string         `json:"address"`
	Identity  string         `json:"identity"` // routing id, where it shows
	Mechanism zmtp.Mechanism `json:"mechanism"`
	Waits     float64        `json:"waits_seconds"`
	For       string         `json:"for"` // the favourite that it waits for; empty: anyone
}

// PairStatus is a client and its worker.
type PairStatus struct {
	Client    string   `json:"client"`
	Identity  string   `json:"identity"`
	Worker    string   `json:"worker"` // its address
	Name      string   `json:"name"`   // of its identity
	Since     float64  `json:"since_seconds"`
	In        int64    `json:"in_bytes"`  // from the client
	Out       int64    `json:"out_bytes"` // to it
	Handshake Progress `json:"handshake"`
}

// Flows tells what went from which listener to which workers, by the name of their identity.
func (r *Rendezvous) Flows() []relay.FlowStatus { return r.group.Flows() }

// Status tells how things stand.
func (r *Rendezvous) Status(limit int) Status {
	moved := map[string][2]int64{}
	for _, l := range r.group.Snapshot(limit) {
		if l.A != nil {
			moved[l.A.String()] = [2]int64{l.AToB, l.BToA}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{Parked: r.counts.parked, Waiting: r.counts.waiting, Paired: len(r.pairs)}
	for _, room := range r.rooms {
		s.addRoom(room, limit)
	}
	for _, p := range r.pairs {
		if len(s.Pairs) == limit {
			break
		}
		relayed := moved[p.client.socket]
		s.Pairs = append(s.Pairs, PairStatus{
			Client: p.client.addr, Identity: p.client.identity, Worker: p.worker.addr, Name: p.worker.name, Since: time.Since(p.since).Seconds(),
			In: p.toWorker.Load() + relayed[0], Out: p.toClient.Load() + relayed[1], Handshake: r.progress(p),
		})
	}
	slices.SortFunc(s.Identities, func(a, b IdentityStatus) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Workers, func(a, b WorkerStatus) int { return cmp.Compare(b.Age, a.Age) })
	slices.SortFunc(s.Clients, func(a, b ClientStatus) int { return cmp.Compare(b.Waits, a.Waits) })
	slices.SortFunc(s.Pairs, func(a, b PairStatus) int { return cmp.Compare(b.Since, a.Since) })
	return s
}

func (s *Status) addRoom(room *room, limit int) {
	addClient := func(c *client, wanted string) {
		if len(s.Clients) < limit {
			s.Clients = append(s.Clients, ClientStatus{
				Address: c.addr, Identity: c.identity, Mechanism: c.mechanism, Waits: time.Since(c.arrived).Seconds(), For: wanted,
			})
		}
	}
	for e := room.queue.Front(); e != nil && len(s.Clients) < limit; e = e.Next() {
		addClient(e.Value.(*client), "")
	}
	for _, id := range room.identities {
		if len(s.Identities) < limit {
			s.Identities = append(s.Identities, IdentityStatus{
				Name: id.name, Free: id.free.Len(), Busy: id.busy, Elsewhere: id.elsewhere, Wanted: id.wanted.Len(),
			})
		}
		for e := id.wanted.Front(); e != nil && len(s.Clients) < limit; e = e.Next() {
			addClient(e.Value.(*client), id.name)
		}
		for e := id.free.Front(); e != nil && len(s.Workers) < limit; e = e.Next() {
			w := e.Value.(*worker)
			s.Workers = append(s.Workers, WorkerStatus{
				Address: w.addr, Name: w.name, Agent: w.agent, Mechanism: w.mechanism, Age: time.Since(w.arrived).Seconds(),
			})
		}
	}
}

// progress tells how far a pair's handshake has come. mu is held.
func (r *Rendezvous) progress(p *pairing) Progress {
	switch {
	case p.shaken:
		return HandshakeDone
	case r.gated():
		return HandshakePending
	}
	return HandshakeUnseen
}
