//go:build linux

package main

import (
	"math"
	"strconv"
)

// Size chooses among the amounts of a work.
type Size int

// The sizes: of `make bench`, of `make bench-short`, and of the tests.
const (
	full Size = iota
	short
	smoke
)

// Values are the raw figures of a sample, by name: what the client reports (seconds, operations, bytes, failed, lost,
// p50_us, p99_us) and what the stage measures of the proxy (cpu_s, rss_kib, rss_grown_kib, fds_grown, connections).
type Values map[string]float64

// Figure is one column of a work's table.
type Figure struct {
	Name     string // key in goals
	Title    string // with its unit
	Higher   bool   // is better
	OfProxy  bool   // says nothing of the direct connection
	Compared bool   // gets a column of ratios
	From     func(Values) float64
}

// Work is one kind of load. Its client and its backend are the same programs whichever peer stands between them.
type Work struct {
	Name, Title, About string
	Conns              [3]int               // by Size
	Amount             [3]uint64            // by Size, in the client's own unit
	Unix               bool                 // the proxy reaches its target over a unix socket
	GRPC               bool                 // calls, for proxies that know HTTP/2
	Bridged            bool                 // requests, for peers that say what their ends speak
	Times              int                  // in a round of a full run, because its figures vary; 0: once
	OneCore            bool                 // everything shares one core: no wake-up across cores
	Backend            func(Scene) []string // nil: the client brings it
	Client             func(Scene) []string
	Figures            []Figure
}

const (
	gib       = 1 << 30
	per10k    = 10_000
	per100k   = 100_000
	idleConns = 9_000
	slowConns = 5_000

	variedTimes = 2 // see Work.Times
)

var (
	messageRate = Figure{Name: "rate", Title: "round trips/s", Higher: true, Compared: true, From: perSecond("operations")}
	p50         = Figure{Name: "p50", Title: "p50 µs", Compared: true, From: value("p50_us")}
	p99         = Figure{Name: "p99", Title: "p99 µs", From: value("p99_us")}
	messageCPU  = Figure{Name: "cpu", Title: "CPU s per 100 k", OfProxy: true, Compared: true, From: cpuPer(per100k, "operations")}
	bulkCPU     = Figure{Name: "cpu", Title: "CPU s/GiB", OfProxy: true, Compared: true, From: cpuPer(gib, "bytes")}
	bulkRate    = Figure{Name: "rate", Title: "GiB/s", Higher: true, Compared: true, From: func(v Values) float64 { return v["bytes"] / gib / v["seconds"] }}
	callRate    = Figure{Name: "rate", Title: "calls/s", Higher: true, Compared: true, From: perSecond("operations")}
	requestRate = Figure{Name: "rate", Title: "requests/s", Higher: true, From: perSecond("operations")}
	requestP50  = Figure{Name: "p50", Title: "p50 µs", From: value("p50_us")}
	requestCPU  = Figure{Name: "cpu", Title: "CPU s per 100 k", OfProxy: true, From: cpuPer(per100k, "operations")}
	pushRate    = Figure{Name: "rate", Title: "messages/s", Higher: true, Compared: true, From: perSecond("operations")}
)

func value(name string) func(Values) float64 { return func(v Values) float64 { return v[name] } }

func perSecond(name string) func(Values) float64 {
	return func(v Values) float64 { return v[name] / v["seconds"] }
}

func cpuPer(unit float64, name string) func(Values) float64 {
	return func(v Values) float64 { return v["cpu_s"] / v[name] * unit }
}

func perConnection(name string) func(Values) float64 {
	return func(v Values) float64 { return v[name] / v["connections"] }
}

// wholeHundredths keeps a descriptor that a proxy opens for itself from showing in the figure of thousands of connections.
func wholeHundredths(f func(Values) float64) func(Values) float64 {
	return func(v Values) float64 { return math.Round(f(v)*100) / 100 }
}

func echo(s Scene) []string { return backend(s, "echo") }
func sink(s Scene) []string { return backend(s, "sink") }

func backend(s Scene, kind string) []string {
	argv := []string{s.Tool("backend"), kind, s.LoadThreads(), s.Back}
	if s.TargetIsUnix() {
		argv = append(argv, s.Target)
	}
	return argv
}

func load(kind string) func(Scene) []string {
	return func(s Scene) []string {
		return []string{s.Tool("load"), s.Front, s.LoadThreads(), kind, strconv.Itoa(s.Conns), strconv.FormatUint(s.Amount, 10)}
	}
}

func zmq(kind, mechanism string) func(Scene) []string {
	return func(s Scene) []string {
		return []string{s.Tool("zmq"), s.Front, s.Back, kind, mechanism, strconv.FormatUint(s.Amount, 10)}
	}
}

// each is the same number at every size.
func each(n int) [3]int { return [3]int{n, n, n} }

// Works in the order of the tables. To add one: an entry here, and in peers/ what its protocol asks of their configurations.
var Works = []*Work{
	{
		Name: "bulk-1", Title: "Bulk, 1 connection",
		About: "One connection carries all the bytes one way. The far end counts them and checks a pattern.",
		Conns: each(1), Amount: [3]uint64{2 * gib, gib / 2, 64 << 20}, Backend: sink, Client: load("bulk"),
		Figures: []Figure{bulkCPU, bulkRate},
	},
	{
		Name: "bulk-8", Title: "Bulk, 8 connections",
		About: "The same bytes spread over eight connections.",
		Conns: each(8), Amount: [3]uint64{2 * gib, gib / 2, 64 << 20}, Backend: sink, Client: load("bulk"),
		Figures: []Figure{bulkCPU, bulkRate},
	},
	{
		Name: "ping-1", Title: "Ping-pong, 1 connection",
		About: "64-byte messages, echoed, one in flight. Wake-ups across cores are most of it.",
		Conns: each(1), Amount: [3]uint64{1000, 400, 100}, Backend: echo, Client: load("pingpong"),
		Figures: []Figure{p50, p99, messageCPU},
	},
	{
		Name: "ping-1-core", Title: "Ping-pong, 1 connection, all on one core",
		About: "The same with client, proxy and backend on one core: the length of the path without the wake-ups.",
		Conns: each(1), Amount: [3]uint64{1000, 400, 100}, OneCore: true, Backend: echo, Client: load("pingpong"),
		Figures: []Figure{p50, p99, messageCPU},
	},
	{
		Name: "ping-64", Title: "Ping-pong, 64 connections",
		About: "64-byte messages, echoed, one in flight on each of 64 connections.",
		Conns: each(64), Amount: [3]uint64{1500, 500, 100}, Times: variedTimes, Backend: echo, Client: load("pingpong"),
		Figures: []Figure{messageRate, messageCPU, p50, p99},
	},
	{
		Name: "unix-64", Title: "Ping-pong, 64 connections, unix-socket target",
		About: "The same, the backend listening on a unix socket. nginx stands here a second time with a TCP target; the client is on TCP always, except where it is direct.",
		Conns: each(64), Amount: [3]uint64{1500, 500, 100}, Unix: true, Backend: echo, Client: load("pingpong"),
		Figures: []Figure{messageRate, messageCPU, p50, p99},
	},
	{
		Name: "connect", Title: "New connections",
		About: "Connect, send a ZMTP greeting, get it back, half-close, see the end: 64 at a time.",
		Conns: each(64), Amount: [3]uint64{20_000, 5_000, 500}, Times: variedTimes, Backend: echo, Client: load("connect"),
		Figures: []Figure{
			{Name: "rate", Title: "connections/s", Higher: true, Compared: true, From: perSecond("operations")},
			{Name: "cpu", Title: "CPU s per 10 k", OfProxy: true, Compared: true, From: cpuPer(per10k, "operations")},
		},
	},
	{
		Name: "idle", Title: "Idle connections",
		About: "9 000 connections that have greeted and now say nothing: what the proxy grew by. Afterwards a message goes through each.",
		Conns: [3]int{idleConns, idleConns, 200}, Amount: [3]uint64{1000, 500, 100}, Backend: echo, Client: load("idle"),
		Figures: []Figure{
			{Name: "rss", Title: "KiB RSS each", OfProxy: true, Compared: true, From: perConnection("rss_grown_kib")},
			{Name: "fds", Title: "descriptors each", OfProxy: true, From: wholeHundredths(perConnection("fds_grown"))},
			{Name: "cpu", Title: "CPU ms per idle second", OfProxy: true, From: func(v Values) float64 { return v["cpu_s"] / v["seconds"] * 1000 }},
		},
	},
	{
		Name: "slow", Title: "Slow connections",
		About: "5 000 connections with one 100-byte message a second each, echoed.",
		Conns: [3]int{slowConns, slowConns, 200}, Amount: [3]uint64{3000, 1000, 500}, Backend: echo, Client: load("slow"),
		Figures: []Figure{
			{Name: "cpu", Title: "CPU ms a second", OfProxy: true, Compared: true, From: func(v Values) float64 { return v["cpu_s"] / v["seconds"] * 1000 }},
			p50, p99,
		},
	},
	callWork("unary", "unary-1", "gRPC unary, 1 connection", "Unary calls of 100 bytes, 64 at a time on one connection.", 1, 64, []Figure{callRate, messageCPU, p50, p99}),
	callWork("unary", "unary-8", "gRPC unary, 8 connections", "The same, 16 at a time on each of eight connections.", 8, 16, []Figure{callRate, messageCPU, p50, p99}),
	callWork("unary", "unary-single", "gRPC unary, a single caller", "One call after the other.", 1, 1, []Figure{p50, p99, messageCPU}),
	callWork("bidi", "bidi", "gRPC bidirectional ping", "100-byte messages, echoed, one in flight on each of 16 streams of each of eight connections.", 8, 16, []Figure{messageRate, messageCPU, p50}),
	callWork("stream", "server-stream", "gRPC server stream", "100-byte messages one way, on a stream of each of eight connections.", 8, 1, []Figure{pushRate, messageCPU}),
	bridgeWork("bridge-single", "ZeroMQ and gRPC, a single caller", "One request of 100 bytes after the other, its reply held against it: a REQ of a REP, a gRPC client of a gRPC service, "+
		"and through the gateway each client of the other's service. The ZeroMQ ends are libzmq, the gRPC ones grpc-go.", 1),
	bridgeWork("bridge-64", "ZeroMQ and gRPC, 64 clients", "The same, 64 clients with a connection each.", 64),
	zmqWork("reqrep", "NULL", "libzmq REQ/REP, NULL", "A REQ and a REP socket of libzmq, 64-byte messages.", []Figure{p50, p99, messageCPU}),
	zmqWork("reqrep", "CURVE", "libzmq REQ/REP, CURVE", "The same, encrypted end to end.", []Figure{p50, p99, messageCPU}),
	zmqWork("pushpull", "NULL", "libzmq PUSH/PULL, NULL", "64-byte messages one way. libzmq itself is the limit here: the relay hardly shows.", []Figure{pushRate, messageCPU}),
	zmqWork("pushpull", "CURVE", "libzmq PUSH/PULL, CURVE", "The same, encrypted end to end.", []Figure{pushRate, messageCPU}),
}

// callWork has streams calls at a time on each connection.
func callWork(kind, name, title, about string, conns, streams int, figures []Figure) *Work {
	return &Work{
		Name: name, Title: title, About: about, GRPC: true,
		Conns: each(conns), Amount: [3]uint64{2000, 800, 100}, Figures: figures,
		Backend: func(s Scene) []string { return rpcServe(s) },
		Client:  func(s Scene) []string { return rpcLoad(s, kind, streams) },
	}
}

// bridgeWork has clients that ask one after the other, in the language of the peer's one end, a service in that of its other.
func bridgeWork(name, title, about string, clients int) *Work {
	return &Work{
		Name: name, Title: title, About: about, Bridged: true,
		Conns: each(clients), Amount: [3]uint64{700, 400, 100}, Times: variedTimes, Figures: []Figure{requestRate, requestP50, p99, requestCPU},
		Backend: func(s Scene) []string {
			if s.To == "zmq" {
				return []string{s.Tool("requests"), "serve", s.Back}
			}
			return rpcServe(s)
		},
		Client: func(s Scene) []string {
			if s.From == "zmq" {
				return []string{s.Tool("requests"), "load", s.Front, strconv.Itoa(s.Conns), strconv.FormatUint(s.Amount, 10)}
			}
			return rpcLoad(s, "unary", 1)
		},
	}
}

func rpcServe(s Scene) []string {
	return []string{s.Tool("rpc"), "serve", s.LoadThreads(), s.Back}
}

func rpcLoad(s Scene, kind string, streams int) []string {
	return []string{
		s.Tool("rpc"), "load", s.LoadThreads(), s.Front, kind,
		strconv.Itoa(s.Conns), strconv.Itoa(streams), strconv.FormatUint(s.Amount, 10),
	}
}

func zmqWork(kind, mechanism, title, about string, figures []Figure) *Work {
	name := "zmq-" + kind
	if mechanism == "CURVE" {
		name += "-curve"
	}
	w := &Work{
		Name: name, Title: title, About: about,
		Conns: each(1), Amount: [3]uint64{1000, 300, 100}, Client: zmq(kind, mechanism), Figures: figures,
	}
	if kind == "reqrep" && mechanism == "NULL" {
		w.Times = variedTimes // what a relay adds is a small part of it
	}
	return w
}
