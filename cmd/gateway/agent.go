package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"gateway/internal/config"
)

// agentFlags are what `gateway agent` is told.
type agentFlags struct {
	gateway, worker, name string
	slots                 int
	token                 string
	tls                   *tls.Config // nil: none is spoken
}

// agentCommand keeps slots at a workers' door until TERM or INT. The first one drains, the second ends at once.
func agentCommand(args []string, _, stderr io.Writer) int {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	var f agentFlags
	flags.StringVar(&f.gateway, "gateway", "", "`host:port` of the gateway's workers' door; a name may stand for several gateways, all are served")
	flags.StringVar(&f.worker, "worker", "tcp://127.0.0.1:6000", "the `address` that the worker binds: tcp://host:port, ipc:///path")
	flags.StringVar(&f.name, "name", "", "the worker's `name`, for balance and affinity; default: this machine's")
	flags.IntVar(&f.slots, "slots", 8, "the `number` of clients that the worker may have at the same time")
	tokenFile := flags.String("token-file", "", "a `file` with the token that the door asks for")
	caFile := flags.String("tls-ca", "", "speak TLS to the door, and check its certificate with the authorities in this PEM `file`")
	drainTimeout := flags.Duration("drain-timeout", 30*time.Second, "how long clients may go on after TERM")
	debug := flags.Bool("debug", false, "log every client")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	if f.gateway == "" {
		fmt.Fprint(stderr, "gateway agent: -gateway is missing: the address of the gateway's workers' door, such as -gateway 127.0.0.1:5556\n")
		return exitUsage
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := newLog(stderr, config.LogText, level)
	if err := f.read(*tokenFile, *caFile); err != nil {
		fmt.Fprintf(stderr, "gateway agent: %v\n", err)
		return exitUsage
	}
	a, err := newAgent(f, log)
	if err != nil {
		fmt.Fprintf(stderr, "gateway %v\n", err)
		return exitUsage
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	log.Info("serving", "gateway", f.gateway, "worker", f.worker, "name", f.name, "slots", f.slots)
	s := <-signals
	log.Info("draining", "signal", s.String(), "clients", a.Serving(), "drain_timeout", *drainTimeout)
	cancel()
	limit, cut := context.WithTimeout(context.Background(), *drainTimeout)
	defer cut()
	go func() {
		<-signals
		cut()
	}()
	<-ended
	log.Info("stopped", "cut", a.Drain(limit))
	return exitOK
}

// read completes what the flags only name.
func (f *agentFlags) read(tokenFile, caFile string) error {
	if f.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("this machine does not tell its name (%w): use -name", err)
		}
		f.name = cmp.Or(host, "worker")
	}
	if tokenFile != "" {
		text, err := os.ReadFile(tokenFile)
		if err != nil {
			return fmt.Errorf("-token-file: %w", err)
		}
		if f.token = strings.TrimSpace(string(text)); f.token == "" {
			return fmt.Errorf("-token-file: %s is empty", tokenFile)
		}
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return fmt.Errorf("-tls-ca: %w", err)
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return fmt.Errorf("-tls-ca: %s holds no certificate in PEM", caFile)
		}
		f.tls = &tls.Config{RootCAs: authorities}
	}
	return nil
}
