package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Config is one configuration file, evaluated and found to be consistent. Nothing in it changes after loading.
type Config struct {
	Listeners []Listener // at least one
	Backends  []Backend
	Relays    []Relay // in file order: the first that fits takes the connection
	ZMQs      []ZMQ   // in file order; see Order for how they stand among the relays
	Routes    []Route // the grpc blocks in file order; no two have the same pattern and metadata
	SockJS    []SockJS
	Limits    Limits
	Meter     string     // the file that keeps who spoke ZeroMQ over a restart; empty: none
	Admin     *Admin     // nil: no admin port
	Telemetry *Telemetry // nil: no spans
	Log       Log

	// Files are those that words name and that are read when a configuration is applied, as they were when it was loaded: with
	// another content it is another configuration. Certificates of listeners and doors, read again by themselves, are not here.
	Files []File

	// DrainTimeout is how long connections may go on after a stop or after their block was removed; 30s when left
	// out, always positive.
	DrainTimeout time.Duration
}

// File is a file as it was.
type File struct {
	Path     string
	Bytes    int64
	Modified time.Time
}

// Listener is one exposed port.
type Listener struct {
	Network        string        // "tcp" or "unix"
	Addr           string        // host:port; an empty host means every address, port 0 any free port; or the socket's path
	Name           string        // for match { listen }; the address when left out; unique
	SniffTimeout   time.Duration // how long a peer may stay unrecognised; 0: left out
	MaxConnections int           // 0: left out
	MaxSniffing    int           // connections not recognised yet; 0: left out

	Source []netip.Prefix // client addresses that are welcome, masked; empty: all

	// Proxies are the networks whose connections begin with a PROXY header, which says whose they are; empty: none.
	// AllProxies says that all of a unix socket's do.
	Proxies    []netip.Prefix
	AllProxies bool

	// Certificates are for TLS, which every client must speak; the first is for who asks for no name, or for one that none
	// of them bears. Empty: TLS is not terminated.
	Certificates []TLSFiles
	ClientCA     string // file of the authorities of clients' certificates; empty: clients need none

	Range hcl.Range // of the address
}

// Backend is a set of interchangeable gRPC servers, or the places where a ZeroMQ service binds.
type Backend struct {
	Name      string
	Targets   []Target    // host:port, dns:///host:port or unix:///path; at least one
	Balance   Balance     // LeastRequest (when left out) or RoundRobin
	Authority string      // the :authority sent to it; empty: the caller's
	ZMQ       *ZMQService // nil: it speaks gRPC; otherwise the targets are tcp://host:port, unix:///path or ipc:///path
	Range     hcl.Range

	HashKey string      // the metadata that RingHash goes by; set with it, and only then
	Health  string      // the service to ask targets for by grpc.health.v1; empty: nobody asks
	TLS     *BackendTLS // nil: plaintext
}

// Relay forwards the bytes of matching connections, untouched.
type Relay struct {
	Name           string
	Match          Match
	Dial           []Target      // tcp://host:port, unix:///path or ipc:///path; at least one, or else Workers
	Balance        Balance       // LeastConnections (when left out) or RoundRobin
	IdleTimeout    time.Duration // 0: none
	ConnectTimeout time.Duration // of one target; 0: left out
	ProxyHeader    bool          // targets are told the client's address, in a PROXY header of version 2
	Workers        *Workers      // workers connect in, and nobody is dialled; nil: Dial
	Range          hcl.Range     // of the name
}

// Match says which connections a relay takes. All of its conditions must hold.
type Match struct {
	Protocol Protocol       // ZMTP when left out
	Listen   []string       // names of listeners; empty: every listener
	Source   []netip.Prefix // client addresses, masked; empty: every source

	// Percent is the share of sources that the relay takes, 0 to 100; 100 when left out. It is counted on the
	// source address alone, with the same hash for every block: the sources in one block's 10 percent are among
	// those in another's 50. Raising it takes sources away from nobody but the blocks below.
	Percent float64

	// SNI are the names that a TLS client may ask for, in lower case; "*.example" is every name below example. Empty: any
	// name, or none.
	SNI []string

	Introduction // what a ZMTP client must show

	// Key is the secret key that a CURVE client's HELLO must open with; empty: any. zmq blocks alone set it.
	Key Secret
}

// Limits are bounds that hold for the whole gateway.
type Limits struct {
	PerSource    int   // connections open of one source, an IPv6 /64 being one; 0: any number
	NewPerSource int   // connections a second of one source; 0: any number
	Held         int   // ZMTP clients that no block takes, held silent; 0: left out
	Buffers      int64 // bytes that all relays may hold for peers that do not keep up; 0: left out
}

// Route is a grpc block: where the calls that fit its pattern go.
type Route struct {
	Pattern    string        // "/pkg.Service/Method", "/pkg.Service/*" or "*"
	Timeout    time.Duration // upper bound of the caller's own; 0: none
	MaxMessage int64         // bytes, either way; 0: left out
	To         []To          // at least one; the weights' sum is positive
	Range      hcl.Range     // of the pattern

	CallRules
}

// To is one of a route's weighted destinations.
type To struct {
	Backend string // the name of one of Config.Backends
	Weight  int    // relative to the route's other destinations; 1 when none of them has a weight
	Range   hcl.Range
}

// Admin is the port for metrics, health and status.
type Admin struct {
	Network string // "tcp" or "unix"
	Addr    string // host:port, or the socket's path
	Token   Secret // empty: none asked for; only on loopback and unix sockets
	Pprof   bool   // serve Go profiles of the process below /debug/pprof/
	Range   hcl.Range
}

// Log says how and how much is logged.
type Log struct {
	Format LogFormat  // LogText when left out
	Level  slog.Level // info when left out
}

// Target is a place to dial.
type Target struct {
	Text    string    // as written
	Network string    // "tcp" or "unix"
	Address string    // host:port, or the socket's path; "@name" is an abstract socket
	Range   hcl.Range // of the text
}

// Protocol is a word of match { protocol }.
type Protocol string

// The protocols that a relay can ask for.
const (
	ZMTP        Protocol = "zmtp"
	HTTP1       Protocol = "http1"
	HTTP2       Protocol = "http2"
	TLS         Protocol = "tls"
	SSH         Protocol = "ssh"
	AnyProtocol Protocol = "any"
)

// Balance is how one of several targets is chosen.
type Balance string

// The ways to choose a target.
const (
	LeastConnections Balance = "least_connections" // relays
	LeastRequest     Balance = "least_request"     // gRPC backends
	RingHash         Balance = "ring_hash"         // gRPC backends
	RoundRobin       Balance = "round_robin"
)

// LogFormat is a word of log { format }.
type LogFormat string

// The formats of the log.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Place tells where a range begins, as "gateway.hcl:12", for errors that are found after loading (an address in use).
func Place(at hcl.Range) string {
	return fmt.Sprintf("%s:%d", at.Filename, at.Start.Line)
}
