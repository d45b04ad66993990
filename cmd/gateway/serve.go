package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"gateway/internal/config"
)

// cutGrace is how long what drain_timeout cut may take to end, at most.
const cutGrace = 5 * time.Second

// heapGrowthPercent is GOGC unless the environment has one: what idle connections hold is small and stays, so that a tighter heap
// saves memory and costs next to nothing.
const heapGrowthPercent = 50

// serve runs the gateway until TERM or INT. The first one drains, the second ends at once. HUP loads the configuration again.
func serve(args []string, _, stderr io.Writer) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := flags.String("config", configDefault, "the configuration `file`")
	watched := flags.Bool("watch", false, "load the configuration again whenever its file changes")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	cfg, diags := config.Load(*path)
	writeDiagnostics(diags, stderr)
	if diags.HasErrors() {
		return exitError
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(signals)

	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowthPercent)
	}
	level := &slog.LevelVar{}
	level.Set(cfg.Log.Level)
	log := newLog(stderr, cfg.Log.Format, level)
	i, err := start(cfg, log, level, func() (*config.Config, error) { return loadAgain(*path) })
	if err != nil {
		fmt.Fprintf(stderr, "gateway: it did not start:\n%v\n", err)
		return exitError
	}
	stop := make(chan struct{})
	defer close(stop)
	if *watched {
		if err := watch(*path, stop, log, i.reloadChanged); err != nil {
			log.Error("the configuration is not watched", "error", err)
		}
	}
	log.Info("ready", "version", versionText(), "config", *path)
	return untilStopped(i, signals, log)
}

// untilStopped follows signals until the gateway has ended.
func untilStopped(i *instance, signals <-chan os.Signal, log *slog.Logger) (code int) {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				i.reload() // a refused one is logged there
				continue
			}
			log.Info("draining", "signal", s.String(), "drain_timeout", i.drainTimeout())
		case err := <-i.failed:
			log.Error("draining", "error", err)
			code = exitError
		}
		drain(i, i.drainTimeout(), signals, log)
		return code
	}
}

// loadAgain loads the configuration for a reload. Its diagnostics become the error.
func loadAgain(path string) (*config.Config, error) {
	cfg, diags := config.Load(path)
	if diags.HasErrors() {
		var text strings.Builder
		writeDiagnostics(diags, &text)
		return nil, errors.New(strings.TrimSpace(text.String()))
	}
	return cfg, nil
}

// drain ends i within limit, and at once when a further signal comes.
func drain(i *instance, limit time.Duration, signals <-chan os.Signal, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	drained := make(chan int, 1)
	go func() { drained <- i.shutdown(ctx) }()
	for warned := false; ; {
		select {
		case cut := <-drained:
			log.Info("stopped", "cut", cut)
			return
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP: // too late for that
			case !warned:
				log.Warn("ending at once, at the second signal")
				cancel()
				warned = true
			default:
				log.Warn("ended without waiting, at the third signal")
				return
			}
		}
	}
}

// newLog makes the log that the configuration asks for.
func newLog(w io.Writer, format config.LogFormat, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
