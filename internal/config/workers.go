package config

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Workers is the door of a relay whose workers connect in, and how clients wait for them.
type Workers struct {
	Addr    string         // host:port of the door
	Source  []netip.Prefix // who may connect there; empty: everybody
	Agents  bool           // agents may come, besides workers that speak ZMTP
	MaxWait time.Duration  // age at which a waiting worker is closed, to come back fresh; 0: never
	Token   Secret         // what agents must know; empty: nothing
	TLS     *TLSFiles      // what agents must speak TLS with; nil: they speak none

	Wait             time.Duration // of a client for a worker; 0: left out
	MaxWaiting       int           // clients; 0: left out
	HandshakeTimeout time.Duration // 0: left out
	Affinity         Affinity      // AffinityNone when left out
	AffinityWait     time.Duration // 0: left out

	Range hcl.Range // of the door's address
}

// Affinity is a word of relay { affinity }.
type Affinity string

// What a client is recognised by.
const (
	AffinityNone     Affinity = "none"
	AffinitySource   Affinity = "source"
	AffinityIdentity Affinity = "identity"
)

const (
	// maxWaitDefault lets libzmq workers go before their own timer, 30s after they connected, does.
	maxWaitDefault = 22 * time.Second
	waitingMax     = 1_000_000
)

// workers reads the workers block of a relay, and the words that go with it; nil without one.
func (r *reader) workers(b relaySchema, m Match) *Workers {
	door := b.Workers
	if door == nil {
		for _, a := range []*hcl.Attribute{b.Wait, b.MaxWaiting, b.HandshakeTimeout, b.Affinity, b.AffinityWait} {
			if a != nil {
				r.errorAt(a.NameRange, "Only for workers that connect", "%s says how clients wait for workers that connect in. It goes with a workers { listen = ... } block.", a.Name)
			}
		}
		return nil
	}
	for _, a := range []*hcl.Attribute{b.Dial, b.Balance, b.ConnectTimeout, b.ProxyProtocol} {
		if a != nil {
			r.errorAt(a.NameRange, "Dial or workers", "Either the gateway dials (dial), or the workers connect to it (workers): %s does not go with a workers block.", a.Name)
		}
	}
	if m.Protocol != ZMTP {
		r.errorAt(b.NameRange, "Workers speak ZeroMQ", "A relay with a workers block takes protocol = \"zmtp\", which may be left out.")
	}
	w := r.door(door)
	w.Wait = r.duration(b.Wait, 0)
	w.MaxWaiting, _ = r.count(b.MaxWaiting, 1, waitingMax)
	w.HandshakeTimeout = r.duration(b.HandshakeTimeout, 0)
	w.Affinity = oneOf(r, b.Affinity, AffinityNone, AffinitySource, AffinityIdentity, AffinityNone)
	w.AffinityWait = r.duration(b.AffinityWait, 0)
	r.checkAffinity(b, w.Affinity, m)
	if b.HandshakeTimeout != nil && !m.Gated() {
		r.warnAt(b.HandshakeTimeout.NameRange, "A time-out that watches nothing", "The handshake is watched where match { mechanism = [...] } asks for one; here every byte goes through unseen.")
	}
	return w
}

// Gated reports whether a match looks at the handshake of ZMTP clients.
func (in Introduction) Gated() bool {
	return len(in.Mechanism) > 0 || len(in.SocketType) > 0 || in.Identity != ""
}

func (r *reader) checkAffinity(b relaySchema, affinity Affinity, m Match) {
	null := slices.Equal(m.Mechanism, []string{nullMechanism}) || len(m.SocketType) > 0 || m.Identity != ""
	if affinity == AffinityIdentity && !null {
		r.errorAt(b.Affinity.Expr.Range(), "What can never be seen", "The identity is visible under NULL alone. Write match { mechanism = [\"NULL\"] }, or affinity = \"source\".")
	}
	if b.AffinityWait != nil && affinity == AffinityNone {
		r.warnAt(b.AffinityWait.NameRange, "A wait without a favourite", "affinity_wait is how long to wait for a busy favourite. Add affinity = \"source\".")
	}
}

// door reads the block itself.
func (r *reader) door(b *workersSchema) *Workers {
	w := &Workers{MaxWait: maxWaitDefault, Source: r.prefixes(b.Source), Agents: r.flag(b.Agents), TLS: r.tlsFiles(b.TLS), Range: b.DefRange}
	addr, given := r.text(b.Listen)
	if b.Listen == nil {
		r.errorAt(b.DefRange, "A door without an address", "Say where the workers connect to: listen = \"127.0.0.1:5556\"")
	}
	if given {
		w.Addr, w.Range = addr, b.Listen.Expr.Range()
		if problem := listenRule.problem(addr); problem != "" {
			r.errorAt(w.Range, "Bad listen address", "%s", problem)
		} else if b.Source == nil && !loopback(addr) {
			r.errorAt(w.Range, "The workers' door is open to others", "Whoever can reach %s could take clients as a worker. Say who may: source = [\"10.0.0.0/8\"], or listen on 127.0.0.1.", quoted(addr))
		}
	}
	if b.MaxWait != nil {
		w.MaxWait, _ = r.durationOrNone(b.MaxWait)
	}
	token, _ := r.text(b.Token)
	w.Token = Secret(token)
	if b.Token != nil && token == "" {
		r.errorAt(b.Token.NameRange, "The token is empty", "An empty token protects nothing. Give it a text, or remove the line.")
	}
	if (b.Token != nil || b.TLS != nil) && b.Agents == nil {
		r.errorAt(b.DefRange, "A guard without a gate", "token and tls are for agents; libzmq workers know neither. Add agents = true, or remove them.")
	}
	return w
}

// tlsFiles reads the names of a certificate's files; nil without the block.
func (r *reader) tlsFiles(b *tlsSchema) *TLSFiles {
	if b == nil {
		return nil
	}
	files, whole := r.certificateFiles(b.DefRange, b.Cert, b.Key, "door")
	if whole {
		r.checkCertificate(files, b.Cert.Expr.Range(), "agents")
	}
	return &files
}

// flag reads a word that is true or false; false when left out.
func (r *reader) flag(a *hcl.Attribute) bool {
	if a == nil {
		return false
	}
	v, ok := r.value(a.Expr, cty.Bool, a.Name+" is true or false, without quotes.")
	return ok && v.True()
}
