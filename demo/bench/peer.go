//go:build linux

package main

import (
	"embed"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// Role says what a peer is in a comparison.
type Role string

// The roles of peers.
const (
	Direct     Role = "direct"     // no proxy at all
	Floor      Role = "floor"      // the least a relay can do
	Baseline   Role = "baseline"   // the gateway one would write without thinking about speed
	Competitor Role = "competitor" // what people run today; the best of these is "the best peer"
	Product    Role = "product"
	Variant    Role = "variant" // the product in another part
)

// Scene is what the three parties of a sample agree on.
type Scene struct {
	Dir      string // scratch directory of the sample
	Tools    string // directory of the programs that the harness has built
	Gateway  string // path of the gateway's binary
	Front    string // host:port that the client connects to
	Back     string // host:port of the backend
	Target   string // what the proxy dials: Back, or the path of a unix socket
	Cores    int    // threads or workers of a proxy
	FilesMax int    // descriptors that a process may open
	Amount   uint64 // how much work, in the work's own unit
	Conns    int    // how many connections
	GRPC     bool   // proxies forward calls, not bytes
	From, To string // what clients and backend speak, where that is the peer's matter: grpc or zmq
}

// Tool is the path of a program that the harness has built.
func (s Scene) Tool(name string) string { return s.Tools + "/" + name }

// LoadThreads is how many threads each load generator gets: half of the cores, so that a proxy is not starved.
func (s Scene) LoadThreads() string { return strconv.Itoa(max(1, s.Cores/2)) }

// TargetIsUnix tells a path from host:port.
func (s Scene) TargetIsUnix() bool { return strings.HasPrefix(s.Target, "/") }

// ConnectionsMax leaves a proxy descriptors for its pipes and its own needs, beyond two a connection.
func (s Scene) ConnectionsMax() int { return (s.FilesMax - 1200) / 2 }

// Door is where workers connect to: a port of its own, some way after that of the clients.
func (s Scene) Door() string {
	host, port, _ := net.SplitHostPort(s.Front)
	number, _ := strconv.Atoi(port)
	return net.JoinHostPort(host, strconv.Itoa(number+doorAfter))
}

// FrontHost, FrontPort, TargetHost and TargetPort are for configuration languages that want the halves.
func (s Scene) FrontHost() string  { host, _, _ := net.SplitHostPort(s.Front); return host }
func (s Scene) FrontPort() string  { _, port, _ := net.SplitHostPort(s.Front); return port }
func (s Scene) TargetHost() string { host, _, _ := net.SplitHostPort(s.Target); return host }
func (s Scene) TargetPort() string { _, port, _ := net.SplitHostPort(s.Target); return port }

// Peer is one thing that may stand between client and backend.
type Peer struct {
	Name    string
	Title   string
	Role    Role
	Needs   []string // Debian packages, as package:proof
	Config  string   // file name of its configuration; its template is peers/NAME.tmpl; "" = none
	Command func(s Scene, config string) []string
	Version []string // the command whose first line tells its version
	OverTCP bool     // reaches the backend over TCP even where the work is about unix sockets
	// From and To are what its clients and its backend speak in the works that are Bridged, grpc or zmq; "" = it takes no
	// part in those, but in all others.
	From, To string
	// CannotDo says why the peer takes no part in a work; "" or nil = it does.
	CannotDo func(w *Work) string
}

// sitsOut says why a peer takes no part in a work; "" = it does.
func (p *Peer) sitsOut(w *Work) string {
	ofAll := func(f Figure) bool { return !f.OfProxy }
	switch {
	case p.Role == Direct && !slices.ContainsFunc(w.Figures, ofAll):
		return "every figure is a proxy's"
	case w.Bridged && p.From == "":
		return "it does not translate"
	case !w.Bridged && p.From != "":
		return "it stands for a pair of languages"
	case p.CannotDo != nil:
		return p.CannotDo(w)
	}
	return ""
}

//go:embed peers/*.tmpl
var templates embed.FS

// Configuration is the text of the peer's configuration file for a scene.
func (p *Peer) Configuration(s Scene) (string, error) {
	t, err := template.ParseFS(templates, "peers/"+p.Config+".tmpl")
	if err != nil {
		return "", fmt.Errorf("configuration of %s: %w", p.Name, err)
	}
	var text strings.Builder
	if err := t.Execute(&text, s); err != nil {
		return "", fmt.Errorf("configuration of %s: %w", p.Name, err)
	}
	return text.String(), nil
}

// Peers in the order of the tables. To add one: a line here and, if it has a configuration, a template.
var Peers = []*Peer{
	{
		Name: "direct", Title: "direct", Role: Direct,
	},
	{
		Name: "floor", Title: "C floor", Role: Floor,
		Command: func(s Scene, _ string) []string {
			return []string{s.Tool("floor"), s.Front, s.Target, strconv.Itoa(s.Cores)}
		},
	},
	{
		Name: "gateway", Title: "**gateway**", Role: Product,
		Config:  "gateway.hcl",
		Command: serve,
	},
	{
		Name: "paired", Title: "gateway, paired through an agent", Role: Variant,
		Config:   "paired.hcl",
		Command:  paired,
		CannotDo: pairedCannotDo,
	},
	{
		Name: "haproxy", Title: "HAProxy", Role: Competitor,
		Needs:   []string{"haproxy:haproxy"},
		Config:  "haproxy.cfg",
		Command: func(_ Scene, config string) []string { return []string{"haproxy", "-db", "-f", config} },
		Version: []string{"haproxy", "-v"},
	},
	{
		Name: "nginx", Title: "nginx", Role: Competitor,
		Needs:   []string{"nginx-light:nginx", "libnginx-mod-stream:/usr/lib/nginx/modules/ngx_stream_module.so"},
		Config:  "nginx.conf",
		Command: nginx,
		Version: []string{"nginx", "-v"},
	},
	{
		Name: "nginx-tcp", Title: "nginx, over TCP", Role: Competitor,
		Config:  "nginx.conf",
		Command: nginx,
		OverTCP: true,
		CannotDo: func(w *Work) string {
			if !w.Unix {
				return "is nginx"
			}
			return ""
		},
	},
	{
		Name: "sslh", Title: "sslh-select", Role: Competitor,
		Needs:    []string{"sslh:/usr/sbin/sslh-select"},
		Config:   "sslh.cfg",
		Command:  func(_ Scene, config string) []string { return []string{"/usr/sbin/sslh-select", "-F" + config} },
		Version:  []string{"/usr/sbin/sslh-select", "-V"},
		CannotDo: sslhCannotDo,
	},
	{
		Name: "plain", Title: "plain cmux + io.Copy", Role: Baseline,
		Command: func(s Scene, _ string) []string { return []string{s.Tool("plain"), s.Front, s.Target} },
		CannotDo: func(w *Work) string {
			if w.GRPC {
				return "it forwards no calls"
			}
			if w.Unix {
				return "it dials TCP alone"
			}
			return ""
		},
	},
	{
		Name: "direct-zmq", Title: "ZeroMQ, direct", Role: Direct, From: "zmq", To: "zmq",
	},
	{
		Name: "direct-grpc", Title: "gRPC, direct", Role: Direct, From: "grpc", To: "grpc",
	},
	{
		Name: "zmq-in", Title: "**gateway, ZeroMQ to gRPC**", Role: Product, From: "zmq", To: "grpc",
		Config: "zmq-in.hcl", Command: serve,
	},
	{
		Name: "grpc-in", Title: "**gateway, gRPC to ZeroMQ**", Role: Product, From: "grpc", To: "zmq",
		Config: "grpc-in.hcl", Command: serve,
	},
}

func serve(s Scene, config string) []string { return []string{s.Gateway, "serve", "-config", config} }

// doorAfter leaves room for the backends' ports.
const doorAfter = 100

// pairedSlots is how many clients the agent serves at the same time.
const pairedSlots = 256

// paired is the gateway and an agent beside the backend, both counted: a connection passes both.
func paired(s Scene, config string) []string {
	target := "tcp://" + s.Target
	if s.TargetIsUnix() {
		target = "unix://" + s.Target
	}
	return []string{"/bin/sh", "-c", `"$0" agent -gateway "$1" -worker "$2" -name bench -slots "$3" 2>agent.log & exec "$0" serve -config "$4"`,
		s.Gateway, s.Door(), target, strconv.Itoa(pairedSlots), config}
}

func pairedCannotDo(w *Work) string {
	if w.GRPC {
		return "it relays bytes"
	}
	if w.Conns[full] > pairedSlots {
		return "it has " + strconv.Itoa(pairedSlots) + " slots"
	}
	return ""
}

func nginx(_ Scene, config string) []string { return []string{"nginx", "-c", config, "-e", "stderr"} }

// sslhConnectionsMax is what select's FD_SETSIZE of 1024 leaves, two descriptors a connection.
const sslhConnectionsMax = 500

func sslhCannotDo(w *Work) string {
	switch {
	case w.GRPC:
		return "it relays bytes"
	case w.Unix:
		return "it dials TCP alone"
	case w.Conns[full] > sslhConnectionsMax:
		return "its select() ends at about 510 connections"
	}
	return ""
}
