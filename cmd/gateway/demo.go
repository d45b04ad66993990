package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"gateway/demo/browser"
	"gateway/demo/peers"
	"gateway/internal/config"
	"gateway/internal/gateway"
)

// demoDrain is how long the demo's gateway may take to end: its clients have left by then.
const demoDrain = 5 * time.Second

// demoKill is when a worker is killed in a demo that runs until Ctrl-C.
const demoKill = 5 * time.Second

// demoAnyPort is where the demo's servers listen: nobody has to keep a port free for them.
const demoAnyPort = "127.0.0.1:0"

// demoConfig is the gateway.hcl of the demo: the exposed port, the door of the vault's workers, the PULL server, the gRPC
// server, and where the program is that answers browsers.
const demoConfig = `
listen %q { name = "public" }
relay "vault" {
  match { mechanism = ["CURVE"] }
  workers { listen = "127.0.0.1:0" }
}
relay "messages" {
  dial = ["tcp://%s"]
}
backend "greeter" {
  grpc = [%q]
}
grpc "*" {
  to "greeter" {}
}
sockjs "/chat" {
  push = %q
  pull = %q
}
`

// demo runs the main job in one process: a gateway, and ZeroMQ and gRPC clients that all use its one port. It succeeds only
// if everything that was sent arrived.
func demo(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", peers.DefaultConnect, "the `address` of the one port")
	duration := flags.Duration("for", 10*time.Second, "the `duration` of it all; 0: until Ctrl-C")
	every := flags.Duration("every", peers.DefaultEvery, "the `duration` between two messages of a client")
	if err := flags.Parse(args); err != nil {
		return usageCode(err)
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "gateway demo: it takes no argument %q; gateway demo -h lists the flags\n", flags.Arg(0))
		return exitUsage
	}
	if *duration < 0 || *every <= 0 {
		fmt.Fprintf(stderr, "gateway demo: -for %v -every %v: a duration cannot be negative, and -every must be more than 0\n", *duration, *every)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second Ctrl-C ends at once

	d := newDemonstration(stdout, demoClients)
	d.listen, d.duration, d.every = *listen, *duration, *every
	return d.show(ctx, stderr)
}

// demoClient is one embedded client and how it sends.
type demoClient struct {
	name, is string
	send     func(context.Context, peers.Client, peers.Report) error // nil: asks the vault, whose key is made on the spot
	stream   bool
}

var demoClients = []demoClient{
	{name: "push-1", is: zmqPush, send: peers.Push},
	{name: "push-2", is: zmqPush, send: peers.Push},
	{name: "call-1", is: grpcCalls, send: peers.Call},
	{name: "call-2", is: grpcStream, send: peers.Call, stream: true},
	{name: "ask-1", is: zmqCurve},
	{name: "ask-2", is: zmqCurve},
	{name: "ask-3", is: zmqCurve},
	{name: "ask-4", is: zmqCurve},
}

const (
	zmqPush    = "ZeroMQ PUSH"
	grpcCalls  = "gRPC, a call each"
	grpcStream = "gRPC, one stream"
	zmqCurve   = "ZeroMQ under CURVE"
)

// demonstration is one run of the demo.
type demonstration struct {
	listen   string
	duration time.Duration // 0: until the context ends
	every    time.Duration
	clients  []demoClient
	screen   *screen
	tally    *tally
	pages    *demoPages
	vault    *demoVault
	started  bool // gateway and peers ran: there is something to sum up
}

func newDemonstration(stdout io.Writer, clients []demoClient) *demonstration {
	s := newScreen(stdout)
	return &demonstration{clients: clients, screen: s, tally: newTally(clients), pages: newDemoPages(s)}
}

// show runs the demo, sums up, and returns the exit code.
func (d *demonstration) show(ctx context.Context, stderr io.Writer) int {
	err := d.run(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "gateway demo: %v\n", err)
	}
	if !d.started {
		return exitError
	}
	d.screen.table(d.tally.rows())
	verdict, complete := d.tally.verdict()
	d.screen.verdict(verdict, complete)
	if err != nil || !complete {
		return exitError
	}
	return exitOK
}

// report shows and counts what peers tell.
func (d *demonstration) report(e peers.Event) {
	d.tally.add(e)
	d.screen.event(e)
}

// run binds all ports, starts the gateway, and lets the peers work.
func (d *demonstration) run(ctx context.Context) error {
	if err := tryListen(d.listen); err != nil {
		return err
	}
	pull, err := peers.Listen(ctx, demoAnyPort)
	if err != nil {
		return err
	}
	defer pull.Close()
	greeter, err := peers.Listen(ctx, demoAnyPort)
	if err != nil {
		return err
	}
	defer greeter.Close()
	dir, err := os.MkdirTemp("", "gateway-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ends := demoEnds{pull.Addr(), greeter.Addr(), "ipc://" + filepath.Join(dir, "push"), "ipc://" + filepath.Join(dir, "pull")}
	i, err := startDemoGateway(d.listen, ends, slog.New(&demoLog{d.screen}))
	if err != nil {
		return err
	}
	if d.vault, err = newDemoVault(d.report); err != nil {
		return err
	}
	d.started = true
	return d.work(ctx, i, pull, greeter, ends)
}

// demoEnds is where the demo's servers listen, and where the gateway does for the program that answers browsers.
type demoEnds struct {
	pull, greeter      net.Addr
	toDates, fromDates string
}

// work runs the peers and then ends clients, gateway and servers, in this order, so that what was sent can arrive. A
// client returns once its last message was read or answered: there are no stragglers to wait for.
func (d *demonstration) work(ctx context.Context, i *instance, pull, greeter net.Listener, ends demoEnds) error {
	port := i.portOf("public")
	d.screen.opening(port, d.duration)

	serving, endServers := context.WithCancel(context.WithoutCancel(ctx))
	defer endServers()
	servers, alive := errgroup.WithContext(serving)
	servers.Go(func() error { return peers.Pull(alive, pull, demoPull, d.report) })
	servers.Go(func() error { return peers.Serve(alive, greeter, demoGreeter, d.report) })
	servers.Go(func() error { return d.vault.work(alive, i.portOf("vault/workers"), d.killAfter()) })
	servers.Go(func() error { return d.pages.answer(alive, ends.toDates, ends.fromDates) })
	servers.Go(func() error {
		select {
		case err := <-i.failed:
			return fmt.Errorf("the gateway broke: %w", err)
		case <-alive.Done():
			return nil
		}
	})
	sending, endClients := context.WithCancel(ctx)
	defer endClients()
	context.AfterFunc(alive, endClients) // a server that broke ends the demo
	err := d.send(sending, port)
	d.pages.gone(sending)

	draining, cancel := context.WithTimeout(context.Background(), demoDrain)
	defer cancel()
	i.shutdown(draining)
	endServers()
	return errors.Join(err, servers.Wait())
}

// send runs all clients until the duration has passed or ctx ends, and returns the first error; it ends the others.
func (d *demonstration) send(ctx context.Context, port string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.duration > 0 {
		defer time.AfterFunc(d.duration, cancel).Stop()
	}
	clients, ctx := errgroup.WithContext(ctx)
	for _, c := range d.clients {
		clients.Go(func() error {
			send := c.send
			if send == nil {
				send = d.vault.ask
			}
			err := send(ctx, peers.Client{Name: c.name, Connect: port, Every: d.every, Stream: c.stream}, d.report)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			return nil
		})
	}
	return clients.Wait()
}

// killAfter is when one of the vault's workers is killed: half-way.
func (d *demonstration) killAfter() time.Duration { return cmp.Or(d.duration/2, demoKill) }

// portOf is the address of the port of that name.
func (i *instance) portOf(name string) string {
	for _, p := range i.current.Load().ports {
		if p.name == name {
			return p.addr.String()
		}
	}
	return ""
}

func startDemoGateway(listen string, ends demoEnds, log *slog.Logger) (*instance, error) {
	cfg, diags := config.Parse("demo.hcl", fmt.Appendf(nil, demoConfig, listen, ends.pull, ends.greeter, ends.toDates, ends.fromDates))
	if diags.HasErrors() {
		return nil, diags.Diagnostics
	}
	return start(cfg, surroundings{log: log, extra: []gateway.HTTPRoute{filesAt("/", browser.Page)}})
}

// tryListen finds out whether the port is free before anything else starts, to say what to do if it is not.
func tryListen(address string) error {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: gateway demo -listen 127.0.0.1:0", bindError(address, err))
	}
	if err != nil {
		return bindError(address, err)
	}
	return l.Close()
}
