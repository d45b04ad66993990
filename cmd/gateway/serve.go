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
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"gateway/internal/config"
	"gateway/internal/handover"
)

// cutGrace is how long what drain_timeout cut may take to end, at most.
const cutGrace = 5 * time.Second

// heapGrowthPercent is GOGC unless the environment has one: what idle connections hold is small and stays, so that a tighter heap
// saves memory and costs next to nothing.
const heapGrowthPercent = 50

// heapFloorBytes is memory that is never touched, so that it costs none: it makes the heap look larger to the garbage collector,
// which would otherwise run for every MiB of garbage, fifteen times a second and more while many connections come and go.
const heapFloorBytes = 6 << 20

// serving is what the command line of serve says.
type serving struct {
	path    string // of the configuration
	watched bool
	pid     pidFile
}

// serve runs the gateway until TERM or INT: the first one drains, the second ends at once. HUP loads the configuration again,
// USR2 hands over to a new process.
func serve(args []string, _, stderr io.Writer) int {
	var f serving
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.StringVar(&f.path, "config", configDefault, "the configuration `file`")
	flags.BoolVar(&f.watched, "watch", false, "load the configuration again whenever its file changes")
	flags.StringVar((*string)(&f.pid), "pid", "", "write the process id to this `file`, once the gateway is ready")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	sockets, predecessor, err := handover.Inherit()
	if err != nil {
		fmt.Fprintf(stderr, "gateway: it did not start: %v\n", err)
		return exitError
	}
	why := io.MultiWriter(stderr, predecessor)
	cfg, diags := checks.Load(f.path)
	writeDiagnostics(diags, why)
	if diags.HasErrors() {
		return exitError
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more is no reason to end

	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowthPercent)
		defer runtime.KeepAlive(make([]byte, heapFloorBytes))
	}
	lines := newLogWriter(stderr)
	defer lines.Close()
	level := &slog.LevelVar{}
	level.Set(cfg.Log.Level)
	log := newLog(lines, cfg.Log.Format, level)
	lines.report.Store(log)
	i, err := start(cfg, surroundings{
		log: log, level: level, logLost: lines.Lost, sockets: sockets, tell: notifier(log),
		load: func() (*config.Config, error) { return loadAgain(f.path) },
	})
	if err != nil {
		fmt.Fprintf(why, "gateway: it did not start:\n%v\n", err)
		return exitError
	}
	warnOfDescriptors(cfg, log)
	if unused := sockets.Rest(); len(unused) > 0 {
		log.Warn("the service manager gave sockets that no block listens on: who connects there waits in vain", "addrs", unused)
	}
	return f.run(i, predecessor, signals)
}

// run tells everybody that i serves, and keeps it until it has ended.
func (f serving) run(i *instance, predecessor *handover.Predecessor, signals <-chan os.Signal) (code int) {
	stop := make(chan struct{})
	defer close(stop)
	if f.watched {
		if err := watch(f.path, stop, i.log, i.reloadChanged); err != nil {
			i.log.Error("the configuration is not watched", "error", err)
		}
	}
	if err := f.pid.write(); err != nil {
		i.log.Error("no pid file", "error", err)
	}
	defer f.pid.remove(i.log)
	feedWatchdog(i.tell, func() { i.status() }, stop, i.log)
	i.log.Info("ready", "version", versionText(), "config", f.path, "pid", os.Getpid())
	if predecessor.Exists() {
		predecessor.Ready() // which tells the service manager whom to follow
	} else {
		i.tell(stateReady, "STATUS=generation 1")
	}
	return untilStopped(i, signals)
}

// untilStopped follows signals until the gateway has ended.
func untilStopped(i *instance, signals <-chan os.Signal) (code int) {
	for {
		select {
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				i.reload() // a refused one is logged there
				continue
			case syscall.SIGUSR2:
				go i.upgrade() // so is this
				continue
			}
			i.log.Info("draining", "signal", s.String(), "drain_timeout", i.drainTimeout())
			i.tell(stateStopping)
		case pid := <-i.successor:
			i.log.Info("draining", "successor", pid, "drain_timeout", i.drainTimeout())
			i.tell(fmt.Sprintf("MAINPID=%d", pid), stateReady, "STATUS=upgraded")
			drain(i, signals, true)
			return exitOK
		case err := <-i.failed:
			i.log.Error("draining", "error", err)
			i.tell(stateStopping)
			code = exitError
		}
		drain(i, signals, false)
		return code
	}
}

// loadAgain loads the configuration for a reload. Its diagnostics become the error.
func loadAgain(path string) (*config.Config, error) {
	cfg, diags := checks.Load(path)
	if diags.HasErrors() {
		var text strings.Builder
		writeDiagnostics(diags, &text)
		return nil, errors.New(strings.TrimSpace(text.String()))
	}
	return cfg, nil
}

// drain ends i within its drain_timeout, and at once when a further signal comes. After a handover the first one is no further
// one: a service manager that stops the service sends it to this process too.
func drain(i *instance, signals <-chan os.Signal, handedOver bool) {
	ctx, cancel := context.WithTimeout(context.Background(), i.drainTimeout())
	defer cancel()
	drained := make(chan int, 1)
	go func() {
		if handedOver {
			i.retreat(ctx)
		}
		drained <- i.shutdown(ctx)
	}()
	for forgiven, warned := handedOver, false; ; {
		select {
		case cut := <-drained:
			i.log.Info("stopped", "cut", cut)
			return
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP || s == syscall.SIGUSR2: // too late for that
			case forgiven:
				i.log.Info("still draining", "signal", s.String())
				forgiven = false
			case !warned:
				i.log.Warn("ending at once, at the second signal")
				cancel()
				warned = true
			default:
				i.log.Warn("ended without waiting, at the third signal")
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
