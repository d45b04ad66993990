package pair

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"time"

	"gateway/backends/relay"
	"gateway/internal/metrics"
	"gateway/internal/zmtp"
)

// Affinity is by what a client is recognised, so that it meets the same worker again.
type Affinity int8

// The kinds of affinity.
const (
	AffinityNone     Affinity = iota // any worker of the least loaded identity
	AffinitySource                   // by its address
	AffinityIdentity                 // by its routing id, which shows under NULL; without one, by its address
)

// Options of a Rendezvous. The zero value pairs byte for byte, with any mechanism.
type Options struct {
	Block string // the block's name in logs and metrics

	// Mechanisms, when there are any, put the gate before the workers: a client gets a worker only after a well-formed
	// first command of one of these mechanisms. Default: none, and nothing is looked at.
	Mechanisms []zmtp.Mechanism

	Wait             time.Duration // how long a client may wait for a worker; default 20s
	WaitingMax       int           // clients that wait at the same time; default 1000
	ParkedMax        int           // workers that wait at the same time; default 10000
	GatingMax        int           // clients and workers at the gate, the oldest closed first; default 2000
	HandshakeTimeout time.Duration // at the gate, and again from pairing to the end of the handshake; default 10s

	// RetireAfter closes a worker that has been parked for so long, or up to a quarter less: libzmq gives up after 30s and
	// comes back at once, and a client that is just then paired has to try again. Agents are not retired. Default 0: never.
	RetireAfter time.Duration

	Affinity     Affinity
	AffinityWait time.Duration // how long a client waits for a busy favourite; default 1s

	Token  string       // what agents must know; default: nothing
	Limits relay.Limits // of the pairs' bytes

	// Hold keeps a client silent that shall not come back at once, and calls ended when it is gone or was closed. libzmq
	// tries again ten times a second when it is closed. Default: the client is closed.
	Hold func(c net.Conn, ended func())

	Log     *slog.Logger  // default: nothing is logged
	Metrics *metrics.Pair // default: counted nowhere
}

// The defaults, and the limits that nobody has to change.
const (
	waitDefault             = 20 * time.Second
	waitingMaxDefault       = 1000
	parkedMaxDefault        = 10_000
	gatingMaxDefault        = 2000
	handshakeTimeoutDefault = 10 * time.Second
	affinityWaitDefault     = time.Second

	// keptBytesMax is how much of what a peer sends before it has a partner is read; the rest stays in the kernel.
	keptBytesMax = 4 << 10

	// libzmqPatience is how long a libzmq socket waits for its handshake (ZMQ_HANDSHAKE_IVL, 30 s by default), and
	// fadingMargin how long before that, and after it, a worker is the last to be taken.
	libzmqPatience = 30 * time.Second
	fadingMargin   = time.Second

	// identityGrace is how long an identity without a worker is remembered: libzmq is back after 100 to 200 ms, and its
	// clients shall wait for it so long instead of moving.
	identityGrace = 2 * time.Second

	// identitiesMax is how many identities may exist for one without a worker to be remembered.
	identitiesMax = 4096

	// summonTimeout is how long an agent may take to dial its worker.
	summonTimeout = 5 * time.Second
)

func (o Options) withDefaults() Options {
	o.Wait = cmp.Or(o.Wait, waitDefault)
	o.WaitingMax = cmp.Or(o.WaitingMax, waitingMaxDefault)
	o.ParkedMax = cmp.Or(o.ParkedMax, parkedMaxDefault)
	o.GatingMax = cmp.Or(o.GatingMax, gatingMaxDefault)
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, handshakeTimeoutDefault)
	o.AffinityWait = cmp.Or(o.AffinityWait, affinityWaitDefault)
	if o.Hold == nil {
		o.Hold = func(c net.Conn, ended func()) {
			c.Close()
			ended()
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New().Pair
	}
	return o
}

// End is how a connection ended that was offered: Relayed, or why it was never relayed. It is a metric's label.
type End string

// The ends.
const (
	Relayed     End = "relayed"      // paired; Outcome.Stats tells the rest
	Left        End = "left"         // it went before it had a partner
	NoWorker    End = "no_worker"    // no worker came in time
	Full        End = "full"         // as many wait as may
	Stopped     End = "stopped"      // the Rendezvous is shut down
	Mechanism   End = "mechanism"    // the gate does not take its mechanism, or its version of ZMTP
	FirstWords  End = "first_words"  // its first command is not what its mechanism begins with
	Slow        End = "slow"         // it did not get through the gate in time
	Crowded     End = "crowded"      // it was the oldest when too many were at the gate
	Failing     End = "failing"      // its source's handshakes keep failing; it was held silent
	Handshake   End = "handshake"    // paired, but the handshake failed
	Unfinished  End = "unfinished"   // paired, but the handshake did not end in time
	Retired     End = "retired"      // a worker: parked for RetireAfter
	AgentDenied End = "agent_denied" // an agent: wrong token, or no agent
	AgentBusy   End = "agent_busy"   // an agent that was asked for its worker and had none
)

var (
	// ErrNoWorker tells a client's log line that nobody came.
	ErrNoWorker = errors.New("pair: no worker was free in time: start more of them, or raise wait")
	// ErrStopped tells that the Rendezvous was shut down.
	ErrStopped = errors.New("pair: shut down")
	// errFailing tells a client's log line why it was not even answered.
	errFailing = errors.New("pair: the handshakes of this source keep failing; it is let try again after a while")
)

// Outcome is what became of a connection that was offered.
type Outcome struct {
	Partner string      // who it was paired with: an agent's name or an address; empty when nobody
	End     End         // Relayed, or why not
	Stats   relay.Stats // a: the client, b: the worker; zero when it was never paired
	Err     error       // what went wrong, nil after a clean end
}
