package main

// Relays whose workers connect in: their doors, and what a configuration makes of a Rendezvous.

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	xrate "golang.org/x/time/rate"

	"gateway/backends/pair"
	"gateway/backends/pair/agent"
	"gateway/backends/relay"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/handover"
	"gateway/internal/metrics"
	"gateway/internal/resource"
	"gateway/internal/zmtp"
	"gateway/sniff"
)

// doorTimeout bounds what a worker or an agent sends first, and the TLS handshake before it.
const doorTimeout = 5 * time.Second

// doorLogEvery is the pause between two lines about agents that are denied: anybody may try.
const doorLogEvery = time.Second

// agentProtocol is how an agent opens a connection to the workers' door.
var agentProtocol = sniff.Protocol{Name: "agent", PrefixMax: len(agent.Magic), Probe: func(prefix []byte) sniff.Verdict {
	n := min(len(prefix), len(agent.Magic))
	switch {
	case string(prefix[:n]) != agent.Magic[:n]:
		return sniff.Reject
	case n < len(agent.Magic):
		return sniff.NeedMore
	}
	return sniff.Accept
}}

// meeting is the Rendezvous of a relay, and its workers' door. One whose settings change is replaced: its pairs stay with the
// old one, and who waited there comes back by itself.
func (i *instance) meeting(change *resource.Change, r config.Relay) (*pair.Rendezvous, *port, error) {
	o := pairOptions(r, i.log, i.metrics)
	meeting, err := resource.Use(change, "relay "+r.Name, o, func() (*pair.Rendezvous, resource.Retire, error) {
		o.Hold = i.server.Hold
		m := pair.New(o)
		return m, i.keep(m.Shutdown), nil
	})
	if err != nil {
		return nil, nil, err
	}
	door, err := i.door(change, r, meeting)
	return meeting, door, err
}

// doorSettings are what makes a door another one.
type doorSettings struct {
	name    string
	socket  *handover.Socket
	meeting *pair.Rendezvous
	source  []netip.Prefix
	agents  bool
	tls     *config.TLSFiles
}

// door is the port that the workers of a relay connect to.
func (i *instance) door(change *resource.Change, r config.Relay, meeting *pair.Rendezvous) (*port, error) {
	w := r.Workers
	socket, err := i.socket(change, "tcp", w.Addr, r.Name+"/workers")
	if err != nil {
		return nil, err
	}
	settings := doorSettings{r.Name + "/workers", socket, meeting, w.Source, w.Agents, w.TLS}
	return resource.Use(change, "door "+settings.name, settings, func() (*port, resource.Retire, error) {
		d := &door{source: w.Source, meeting: meeting, log: i.log.With("block", r.Name), denied: xrate.Sometimes{Interval: doorLogEvery}}
		o := sniff.Options{
			Name: settings.name, Timeout: doorTimeout, Protocols: []sniff.Protocol{sniff.ZMTP}, Log: i.log, Metrics: i.metrics,
			Admit: d.admit, Handle: d.handle,
			Otherwise: func(c *sniff.Conn, result sniff.Result, _ error, release func()) bool {
				if result != sniff.Refused || c.Protocol() != sniff.ZMTP.Name {
					return false
				}
				i.server.Hold(c, func() { // libzmq would come back ten times a second
					c.Close()
					release()
				})
				return true
			},
		}
		var termination *gateway.Termination
		switch {
		case w.TLS != nil:
			files := []gateway.CertificateFiles{{Cert: w.TLS.Cert, Key: w.TLS.Key}}
			if termination, err = gateway.NewTermination(files, "", d.log); err != nil {
				return nil, nil, err
			}
			d.tls = termination.Config()
			o.Protocols = append(o.Protocols, sniff.TLS)
		case w.Agents:
			o.Protocols = append(o.Protocols, agentProtocol)
		}
		p, retire, err := i.open(socket, o)
		if err == nil {
			p.tls = termination
		}
		return p, retire, err
	})
}

// door is where the workers of one relay come in.
type door struct {
	source  []netip.Prefix // who may come; empty: everybody
	meeting *pair.Rendezvous
	tls     *tls.Config // agents must speak it; nil: they speak none
	log     *slog.Logger
	denied  xrate.Sometimes // for the log
}

func (d *door) handle(c *sniff.Conn, release func()) {
	from := c.RemoteAddr().String()
	done := func(o pair.Outcome) {
		release()
		d.log.Debug("worker", "worker", from, "partner", o.Partner, "end", string(o.End), "error", o.Err)
		if o.End == pair.AgentDenied {
			d.denied.Do(func() { d.log.Warn("an agent was denied", "agent", from, "error", o.Err) })
		}
	}
	switch c.Protocol() {
	case sniff.TLS.Name:
		inside, err := d.unwrap(c)
		if err != nil {
			d.log.Debug("no agent inside TLS; closing", "worker", from, "error", err)
			c.Close()
			release()
			return
		}
		d.meeting.Offer(pair.Agent, inside, done)
	case agentProtocol.Name:
		d.meeting.Offer(pair.Agent, c, done)
	default:
		d.meeting.Offer(pair.Worker, c, done)
	}
}

// admit refuses whoever may not come as a worker from where it is.
func (d *door) admit(a net.Addr) (leave func(), refused string) {
	tcp, ok := a.(*net.TCPAddr)
	if len(d.source) == 0 ||
		ok && slices.ContainsFunc(d.source, func(p netip.Prefix) bool { return p.Contains(tcp.AddrPort().Addr().Unmap()) }) {
		return nil, ""
	}
	return nil, gateway.RefusedSource
}

// unwrap terminates TLS and looks for an agent inside.
func (d *door) unwrap(c *sniff.Conn) (net.Conn, error) {
	session := tls.Server(c, d.tls)
	ctx, cancel := context.WithTimeout(context.Background(), doorTimeout)
	defer cancel()
	if err := session.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	inside, result := sniff.Detect(session, []sniff.Protocol{agentProtocol}, doorTimeout)
	if result != sniff.Matched {
		return nil, fmt.Errorf("the first bytes inside: %s", result)
	}
	return inside, nil
}

func pairOptions(r config.Relay, log *slog.Logger, m *metrics.Metrics) pair.Options {
	w := r.Workers
	o := pair.Options{
		Block:            r.Name,
		Mechanisms:       gateOf(r.Match),
		Wait:             w.Wait,
		WaitingMax:       w.MaxWaiting,
		HandshakeTimeout: w.HandshakeTimeout,
		RetireAfter:      w.MaxWait,
		AffinityWait:     w.AffinityWait,
		Token:            string(w.Token),
		Limits:           relay.Limits{Idle: r.IdleTimeout},
		Log:              log,
		Metrics:          m.Pair,
	}
	switch w.Affinity {
	case config.AffinitySource:
		o.Affinity = pair.AffinitySource
	case config.AffinityIdentity:
		o.Affinity = pair.AffinityIdentity
	}
	return o
}

// gateOf are the mechanisms that a client must begin with: those that the match names, or the one that it implies.
func gateOf(m config.Match) (all []zmtp.Mechanism) {
	for _, name := range m.Mechanism {
		all = append(all, zmtp.Mechanism(name))
	}
	if len(all) == 0 && m.Gated() {
		all = []zmtp.Mechanism{zmtp.MechanismNull}
	}
	return all
}

// goesOn says what a relay does with a connection that it takes.
func goesOn(r config.Relay) string {
	if r.Workers != nil {
		return "pairs it with a worker from " + r.Workers.Addr
	}
	return "dials " + targetTexts(r.Dial)
}

// pairHandler makes a Rendezvous a handler of the table.
type pairHandler struct{ meeting *pair.Rendezvous }

func (h pairHandler) ServeConn(_ context.Context, c net.Conn, done func(gateway.Outcome)) {
	h.meeting.Offer(pair.Client, c, func(o pair.Outcome) {
		done(gateway.Outcome{
			Target:   o.Partner,
			BytesIn:  o.Stats.AToB,
			BytesOut: o.Stats.BToA,
			Ago:      o.Stats.Ago,
			Result:   pairResult(o),
			Err:      o.Err,
		})
	})
}

// Carries says that the Rendezvous keeps account of its flows.
func (pairHandler) Carries() {}

// pairResult is a pair's end in a word or two: "no worker", "client eof", "worker reset", "idle_timeout".
func pairResult(o pair.Outcome) string {
	switch {
	case o.End != pair.Relayed:
		return strings.ReplaceAll(string(o.End), "_", " ")
	case o.Stats.First == relay.A:
		return "client " + o.Stats.Reason.String()
	case o.Stats.First == relay.B:
		return "worker " + o.Stats.Reason.String()
	}
	return o.Stats.Reason.String()
}
