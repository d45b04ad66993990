package main

// Upgrade: another process of this program, of another version perhaps, takes over the sockets while this one still serves.
//
// Rules of this file.
//
// The order is what makes that nobody is refused: the new process accepts before this one stops to; this one then waits until
// every connection that it has accepted is where it belongs, and only after that asks clients to leave. While the new process
// starts, nothing here may change: reloads are refused, a stop ends the new process too.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"
)

// upgradeWait is how long a new process may take to be ready.
const upgradeWait = 30 * time.Second

var errUpgrading = errors.New("an upgrade is under way")

// upgrade starts this program again with the sockets that are in use, and returns its process id when it serves. After an
// error everything is as it was.
func (i *instance) upgrade() (pid int, err error) {
	if os.Getpid() == 1 {
		return 0, errors.New("this is process 1, and its container would end with it: start another container, then end this one")
	}
	if err := i.lockForChange(); err != nil {
		return 0, err
	}
	i.upgrading.Store(true)
	i.running.Add(1) // a stop waits until the new process has ended
	i.mu.Unlock()
	defer i.running.Done()
	defer i.upgrading.Store(false)
	i.log.Info("upgrading: starting another process")
	pid, err = i.sockets.Pass(i.stopping, upgradeWait)
	if err == nil && i.draining.Load() {
		err = errors.Join(errStopping, syscall.Kill(pid, syscall.SIGTERM))
	}
	if err != nil {
		i.metrics.Upgrades.WithLabelValues("refused").Inc()
		i.log.Error("upgrade refused, nothing has changed", "error", err)
		return 0, err
	}
	i.metrics.Upgrades.WithLabelValues("applied").Inc()
	i.draining.Store(true) // no other upgrade and no reload
	i.successor <- pid
	return pid, nil
}

// retreat stops accepting, since another process does, and waits until what was accepted here is where it belongs.
func (i *instance) retreat(ctx context.Context) {
	g := i.current.Load()
	if g.admin != nil {
		i.running.Go(func() { g.admin.close(i.log) })
	}
	for _, p := range g.ports {
		p.sniffer.Retire()
	}
	for _, p := range g.ports {
		if err := p.sniffer.Settle(ctx); err != nil {
			i.log.Warn("connections were still on their way", "error", err)
		}
	}
	if err := i.server.Settle(ctx); err != nil {
		i.log.Warn("connections were still on their way", "error", err)
	}
}

// upgradeCommand asks the running gateway to hand over to a new process.
func upgradeCommand(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("upgrade", flag.ContinueOnError)
	path := flags.String("config", configDefault, "the configuration `file` that names the admin port, and its token")
	addr := flags.String("admin", "", "the admin `address` instead: host:port or unix:///path")
	tokenFile := flags.String("token-file", "", "a `file` with the admin token")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	from, err := adminOf(*path, *addr, *tokenFile)
	if err != nil {
		fmt.Fprintf(stderr, "gateway upgrade: %v\n", err)
		return exitUsage
	}
	told, err := from.ask(context.Background(), http.MethodPost, "/upgrade", upgradeWait+statusTimeout)
	if err != nil {
		fmt.Fprintf(stderr, "gateway upgrade: nothing has changed: %v\n", err)
		return exitError
	}
	fmt.Fprint(stdout, told)
	return exitOK
}
