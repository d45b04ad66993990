package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gateway/internal/config"
)

// cutGrace is how long what drain_timeout cut may take to end, at most.
const cutGrace = 5 * time.Second

// serve runs the gateway until TERM or INT. The first one drains, the second ends at once.
func serve(args []string, _, stderr io.Writer) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := flags.String("config", configDefault, "the configuration `file`")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	cfg, diags := config.Load(*path)
	writeDiagnostics(diags, stderr)
	if diags.HasErrors() {
		return exitError
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)

	log := newLog(stderr, cfg.Log)
	i, err := start(cfg, log)
	if err != nil {
		fmt.Fprintf(stderr, "gateway: it did not start:\n%v\n", err)
		return exitError
	}
	log.Info("ready", "version", versionText(), "config", *path)

	select {
	case s := <-signals:
		log.Info("draining", "signal", s.String(), "drain_timeout", cfg.DrainTimeout)
	case err := <-i.failed:
		log.Error("draining", "error", err)
		drain(i, cfg.DrainTimeout, signals, log)
		return exitError
	}
	drain(i, cfg.DrainTimeout, signals, log)
	return exitOK
}

// drain ends i within limit, and at once when a further signal comes.
func drain(i *instance, limit time.Duration, signals <-chan os.Signal, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	drained := make(chan int, 1)
	go func() { drained <- i.shutdown(ctx) }()
	var cut int
	select {
	case cut = <-drained:
	case <-signals:
		log.Warn("ending at once, at the second signal")
		cancel()
		select {
		case cut = <-drained:
		case <-signals:
			log.Warn("ended without waiting, at the third signal")
			return
		}
	}
	log.Info("stopped", "cut", cut)
}

// newLog makes the log that the configuration asks for.
func newLog(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
