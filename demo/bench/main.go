//go:build linux

// Command bench compares the gateway with what people run today: HAProxy, nginx and sslh, a plain cmux and io.Copy
// gateway, a minimal relay in C (the floor) and no proxy at all. It writes a page of Markdown with plots.
//
// Works and peers are two tables, in work.go and peer.go, and every peer does every work unless it says why not. One
// sample, a peer doing a work, is played on a stage (stage.go): a child in namespaces of its own that starts the backend
// and the proxy, leads the client through its phases and measures the proxy between them. The clients and backends are C
// programs beside this file, compiled when the benchmark starts. goals.go holds what the gateway is measured against.
//
// It needs root, for the namespaces, and Debian's packages of the peers, which it installs. It leaves nothing behind: no
// process, namespace or file outlives it, however it ends, except its temporary directory after a SIGKILL.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// plans by Size: rounds, and the time after which no sample is begun.
var plans = [...]struct {
	rounds int
	limit  time.Duration
}{
	full:  {5, 14*time.Minute + 30*time.Second},
	short: {3, 2*time.Minute + 45*time.Second},
	smoke: {1, time.Minute},
}

// options of the command line.
type options struct {
	short, smoke, list, report bool
	out, gateway, works, peers string
	runs, rounds               int
	files                      []string
}

func main() {
	// The kernel kills a stage when the thread that started it ends, so the main goroutine keeps the main thread.
	runtime.LockOSThread()
	if len(os.Args) > 1 && os.Args[1] == stageArgument {
		os.Exit(runStage())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted; nothing is written")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.short, "short", false, "three minutes instead of fifteen")
	flags.BoolVar(&o.smoke, "smoke", false, "tiny amounts: shows that everything works, measures nothing")
	flags.BoolVar(&o.list, "list", false, "list works and peers")
	flags.BoolVar(&o.report, "report", false, "run nothing: write the page from the raw results (JSON) named as arguments")
	flags.StringVar(&o.out, "out", "", "the page (default docs/BENCHMARKS.md; dist/BENCHMARKS.md when the run is short or not all of it)")
	flags.StringVar(&o.gateway, "gateway", "bin/gateway", "the gateway's binary")
	flags.StringVar(&o.works, "only", "", "works to do, separated by commas (default all)")
	flags.StringVar(&o.peers, "peers", "", "peers to compare, separated by commas (default all)")
	flags.IntVar(&o.runs, "runs", 1, "whole runs, each within the time limit")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds of a run (default: as many as the size has)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.files = flags.Args()
	if o.report == (len(o.files) == 0) {
		return o, errors.New("raw results and -report belong together: bench -report docs/bench/run-1.json")
	}
	if o.runs < 1 || o.rounds < 0 {
		return o, errors.New("-runs and -rounds count from 1")
	}
	if o.out == "" {
		o.out = filepath.Join("docs", "BENCHMARKS.md")
		if o.short || o.smoke || o.works != "" || o.peers != "" { // what is published is whole
			o.out = filepath.Join("dist", "BENCHMARKS.md")
		}
	}
	return o, nil
}

// size is the Size that the flags ask for.
func (o options) size() Size {
	switch {
	case o.smoke:
		return smoke
	case o.short:
		return short
	}
	return full
}

func (o options) plan() (Plan, error) {
	size := o.size()
	plan := Plan{Size: size, Rounds: plans[size].rounds, Limit: plans[size].limit}
	if o.rounds > 0 {
		plan.Rounds = o.rounds
	}
	var err error
	if plan.Works, err = choose(o.works, Works, func(w *Work) string { return w.Name }); err != nil {
		return plan, fmt.Errorf("-only: %w", err)
	}
	if plan.Peers, err = choose(o.peers, Peers, func(p *Peer) string { return p.Name }); err != nil {
		return plan, fmt.Errorf("-peers: %w", err)
	}
	return plan, nil
}

// choose picks the named ones, in the order of all.
func choose[T any](names string, all []T, name func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	wanted := strings.Split(names, ",")
	var chosen []T
	for _, x := range all {
		if i := slices.Index(wanted, name(x)); i >= 0 {
			chosen = append(chosen, x)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("there is no %q (bench -list names them)", wanted[0])
	}
	return chosen, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	plan, err := o.plan()
	if err != nil {
		return err
	}
	var runs []*Run
	switch {
	case o.list:
		for _, w := range Works {
			fmt.Fprintf(stdout, "%-18s %s\n", w.Name, w.Title)
		}
		for _, p := range Peers {
			fmt.Fprintf(stdout, "%-18s %s\n", p.Name, strings.Trim(p.Title, "*"))
		}
		return nil
	case o.report:
		for _, name := range o.files {
			r, err := readRun(name)
			if err != nil {
				return err
			}
			runs = append(runs, r)
		}
	default:
		if runs, err = measure(ctx, o, plan, stdout); err != nil {
			return err
		}
	}
	if err := writeReport(o.out, runs); err != nil {
		return err
	}
	for _, row := range goalRows(runs) {
		fmt.Fprintf(stdout, "%-80s %-20s %s\n", row[0], row[1], strings.Join(row[2:], "  "))
	}
	fmt.Fprintf(stdout, "Written: %s\n", o.out)
	return nil
}

// measure prepares the machine and does the whole runs.
func measure(ctx context.Context, o options, plan Plan, progress io.Writer) (runs []*Run, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("every sample runs in a network namespace of its own, which needs root: sudo make bench")
	}
	filesMax, err := unlimitFiles()
	if err != nil {
		return nil, err
	}
	if filesMax < filesNeeded {
		return nil, fmt.Errorf("a process may open %d files here, %d are needed: ulimit -Hn %d, as root", filesMax, filesNeeded, filesWanted)
	}
	gateway, err := filepath.Abs(o.gateway)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(gateway); err != nil && slices.ContainsFunc(plan.Peers, func(p *Peer) bool { return p.Role == Product || p.Role == Variant }) {
		return nil, fmt.Errorf("the gateway's binary: %w (make build)", err)
	}
	dir, err := os.MkdirTemp("", "gateway-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	if err := installPeers(ctx, root, plan.Peers); err != nil {
		return nil, fmt.Errorf("install the peers: %w", err)
	}
	if err := buildTools(ctx, dir); err != nil {
		return nil, fmt.Errorf("build the load generators: %w", err)
	}
	h := &harness{dir: dir, tools: dir, gateway: gateway, filesMax: filesMax, progress: progress}
	for range o.runs {
		r, err := h.run(ctx, plan)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// moduleRoot is the folder of go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
