//go:build linux

package main

import (
	"cmp"
	"fmt"
	"math"
)

// Goal is a line that the gateway is held to: its figure, as a ratio to the best of some peers where any are named.
type Goal struct {
	Text    string
	Work    string
	Figure  string
	Of      string   // the peer that is held to it; "": gateway
	Against []string // peers; the best of them counts. Empty: the figure itself
	Added   bool     // compare what is added to the direct connection's figure
	Halves  bool     // compare with what the bridge may take, given all of Against
	Want    float64  // at least where more is better, else at most
	Aim     float64  // where it would be good to be
}

// What the bridge may take between peers of two languages: halvesShare of half of each language's own round trip together,
// and halvesExtra.
const (
	halvesShare   = 1.4
	halvesExtraUS = 60
)

// Goals of the relay, of the gRPC engine, and of the bridge.
var Goals = []Goal{
	{Text: "64-connection ping-pong, messages/s, of the C floor's", Work: "ping-64", Figure: "rate", Against: []string{"floor"}, Want: 0.88, Aim: 0.95},
	{Text: "64-connection ping-pong, messages/s, of plain cmux + io.Copy's", Work: "ping-64", Figure: "rate", Against: []string{"plain"}, Want: 1.2, Aim: 1.2},
	{Text: "64-connection ping-pong, CPU per 100 k, of the C floor's", Work: "ping-64", Figure: "cpu", Against: []string{"floor"}, Want: 1.15, Aim: 1.05},
	{Text: "64-connection ping-pong, p99, of HAProxy's", Work: "ping-64", Figure: "p99", Against: []string{"haproxy"}, Want: 1.1, Aim: 1.1},
	{Text: "bulk, 1 connection, CPU s/GiB, of the better of HAProxy and nginx", Work: "bulk-1", Figure: "cpu", Against: []string{"haproxy", "nginx"}, Want: 0.75, Aim: 0.75},
	{Text: "bulk, 8 connections, CPU s/GiB, of the better of HAProxy and nginx", Work: "bulk-8", Figure: "cpu", Against: []string{"haproxy", "nginx"}, Want: 0.75, Aim: 0.75},
	{Text: "new connections/s, of HAProxy's", Work: "connect", Figure: "rate", Against: []string{"haproxy"}, Want: 0.95, Aim: 1.1},
	{Text: "KiB RSS per idle connection", Work: "idle", Figure: "rss", Want: 1.0, Aim: 0.5},
	{Text: "descriptors per idle connection", Work: "idle", Figure: "fds", Want: 2, Aim: 2},
	{Text: "libzmq REQ/REP, p50 added to the direct one, of nginx's", Work: "zmq-reqrep", Figure: "p50", Against: []string{"nginx"}, Added: true, Want: 1.25, Aim: 1.0},
	{Text: "unix-socket target, 64-connection ping-pong, messages/s, of nginx's over TCP", Work: "unix-64", Figure: "rate", Against: []string{"nginx-tcp"}, Want: 1.15, Aim: 1.3},
	{Text: "gRPC unary, 1 connection, calls/s, of HAProxy's", Work: "unary-1", Figure: "rate", Against: []string{"haproxy"}, Want: 1.1, Aim: 1.25},
	{Text: "gRPC unary, 1 connection, CPU, of HAProxy's", Work: "unary-1", Figure: "cpu", Against: []string{"haproxy"}, Want: 0.85, Aim: 0.65},
	{Text: "gRPC unary, 8 connections, calls/s, of HAProxy's", Work: "unary-8", Figure: "rate", Against: []string{"haproxy"}, Want: 1.1, Aim: 1.25},
	{Text: "gRPC unary, 8 connections, CPU, of HAProxy's", Work: "unary-8", Figure: "cpu", Against: []string{"haproxy"}, Want: 0.85, Aim: 0.65},
	{Text: "gRPC, a single caller, p50, of HAProxy's", Work: "unary-single", Figure: "p50", Against: []string{"haproxy"}, Want: 1.0, Aim: 1.0},
	{Text: "gRPC bidirectional ping, round trips/s, of HAProxy's", Work: "bidi", Figure: "rate", Against: []string{"haproxy"}, Want: 1.05, Aim: 1.05},
	{Text: "gRPC server stream, messages/s, of nginx's", Work: "server-stream", Figure: "rate", Against: []string{"nginx"}, Want: 0.85, Aim: 1.0},
	{Text: "ZeroMQ client of a gRPC service, p50, of 1.4 x half of both direct ones' + 60 µs", Work: "bridge-single", Figure: "p50", Of: "zmq-in", Against: []string{"direct-zmq", "direct-grpc"}, Halves: true, Want: 1.0, Aim: 1.0},
	{Text: "gRPC client of a ZeroMQ service, p50, of 1.4 x half of both direct ones' + 60 µs", Work: "bridge-single", Figure: "p50", Of: "grpc-in", Against: []string{"direct-zmq", "direct-grpc"}, Halves: true, Want: 1.0, Aim: 1.0},
	{Text: "64 ZeroMQ clients of a gRPC service, requests/s", Work: "bridge-64", Figure: "rate", Of: "zmq-in", Want: 15_000, Aim: 15_000},
	{Text: "64 gRPC clients of a ZeroMQ service, requests/s", Work: "bridge-64", Figure: "rate", Of: "grpc-in", Want: 15_000, Aim: 15_000},
	{Text: "5 000 slow connections, CPU, of HAProxy's", Work: "slow", Figure: "cpu", Against: []string{"haproxy"}, Want: 1.0, Aim: 1.0},
}

// value is what a board says of a goal: false when it lacks a figure.
func (g Goal) value(b Board) (float64, bool) {
	w := workNamed(g.Work)
	f, _ := w.figure(g.Figure)
	offset := 0.0
	if g.Added {
		offset = b.stat(w, peerNamed("direct"), f).Median
	}
	ours := b.stat(w, peerNamed(g.holds()), f)
	if ours.N == 0 || g.Added && offset == 0 {
		return 0, false
	}
	if len(g.Against) == 0 {
		return ours.Median, true
	}
	if g.Halves {
		return g.ofHalves(b, w, f, ours.Median)
	}
	top := math.NaN()
	for _, name := range g.Against {
		if st := b.stat(w, peerNamed(name), f); st.N > 0 && (math.IsNaN(top) || (st.Median > top) == f.Higher) {
			top = st.Median
		}
	}
	if !(top > offset) { // also when there is none
		return 0, false
	}
	return (ours.Median - offset) / (top - offset), true
}

// holds is the peer that is held to the goal.
func (g Goal) holds() string { return cmp.Or(g.Of, "gateway") }

// ofHalves is ours as a part of what the bridge may take.
func (g Goal) ofHalves(b Board, w *Work, f Figure, ours float64) (float64, bool) {
	budget := float64(halvesExtraUS)
	for _, name := range g.Against {
		st := b.stat(w, peerNamed(name), f)
		if st.N == 0 {
			return 0, false
		}
		budget += halvesShare * st.Median / 2
	}
	return ours / budget, true
}

// met tells whether a value reaches what is wanted.
func (g Goal) met(x float64) bool {
	if f, _ := workNamed(g.Work).figure(g.Figure); f.Higher {
		return x >= g.Want
	}
	return x <= g.Want
}

// wish is the line in words.
func (g Goal) wish() string {
	word := "at most"
	if f, _ := workNamed(g.Work).figure(g.Figure); f.Higher {
		word = "at least"
	}
	text := fmt.Sprintf("%s %s", word, plainNumber(g.Want))
	if g.Aim != g.Want {
		text += fmt.Sprintf(" (%s)", plainNumber(g.Aim))
	}
	return text
}

func plainNumber(x float64) string {
	if x >= 1000 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3g", x)
}
