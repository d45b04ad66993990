//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// spoiling is os.Args[1] of a relay that loses or spoils something: spoiling FRONT TARGET.
const spoiling = "spoiling"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == stageArgument {
		runtime.LockOSThread()
		os.Exit(runStage())
	}
	if len(os.Args) == 4 && os.Args[1] == spoiling {
		spoil(os.Args[2], os.Args[3])
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector lets every stage wait a second otherwise
	os.Exit(m.Run())
}

// newHarness compiles the tools once for a test.
func newHarness(t *testing.T) *harness {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("every sample runs in namespaces of its own, which needs root: sudo make test")
	}
	filesMax, err := unlimitFiles()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := buildTools(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return &harness{dir: dir, tools: dir, filesMax: filesMax, progress: t.Output()}
}

func TestEveryWorkGoesThroughAndLosesNothing(t *testing.T) {
	h := newHarness(t)
	h.gateway = filepath.Join(h.dir, "gateway")
	if err := command(t.Context(), "", "go", "build", "-o", h.gateway, "gateway/cmd/gateway"); err != nil {
		t.Fatal(err)
	}
	plan := Plan{Size: smoke, Rounds: 1, Limit: time.Minute, Works: Works, Peers: []*Peer{peerNamed("floor")}}
	for _, p := range Peers {
		if p.From != "" {
			plan.Peers = append(plan.Peers, p)
		}
	}
	result, err := h.run(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range Works {
		if !slices.ContainsFunc(result.Samples, func(s Sample) bool { return s.Work == w.Name }) {
			t.Errorf("nobody did %s", w.Name)
		}
	}
	for _, s := range result.Samples {
		if trouble := s.trouble(); trouble != "" {
			t.Errorf("%s, %s: %s", s.Work, s.Peer, trouble)
			continue
		}
		w := workNamed(s.Work)
		for _, f := range w.Figures {
			p := peerNamed(s.Peer)
			if x, ok := f.of(s.Values, p); ok == (f.OfProxy && p.Role == Direct) || x < 0 || x == 0 && f.Higher {
				t.Errorf("%s, %s: %s = %v, %v", s.Work, s.Peer, f.Title, x, ok)
			}
		}
		if s.Work == "bulk-8" && s.Values["bytes"] != float64(w.Amount[smoke]) || s.Work == "connect" && s.Values["operations"] != float64(w.Amount[smoke]) {
			t.Errorf("%s did not do all of its work: %v", s.Work, s.Values)
		}
		if s.Work == "idle" && s.Values["fds_grown"] != float64(2*w.Conns[smoke]) {
			t.Errorf("idle: %v descriptors for %d connections", s.Values["fds_grown"], w.Conns[smoke])
		}
	}
}

func TestRelayThatSpoilsBytesIsFoundOut(t *testing.T) {
	h := newHarness(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spoiler := &Peer{Name: "spoiler", Role: Competitor, Command: func(s Scene, _ string) []string {
		return []string{self, spoiling, s.Front, s.Target}
	}}
	dead := &Peer{Name: "dead", Role: Competitor, Command: func(Scene, string) []string { return []string{"sh", "-c", "echo no licence; exit 3"} }}
	for _, c := range []struct {
		work string
		peer *Peer
		want string
	}{
		{"ping-1", spoiler, "lost"},
		{"bulk-1", spoiler, "lost"},
		{"ping-1", dead, "no licence"},
	} {
		s, err := h.sample(t.Context(), smoke, workNamed(c.work), c.peer, map[string]string{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(s.trouble(), c.want) {
			t.Errorf("%s through the %s relay: trouble %q, want %q", c.work, c.peer.Name, s.trouble(), c.want)
		}
	}
}

func TestInterruptedSampleLeavesNothingBehind(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	long := *workNamed("ping-1")
	long.Amount[smoke] = 20_000 // ms
	go func() {
		_, err := h.sample(ctx, smoke, &long, peerNamed("floor"), map[string]string{})
		ended <- err
	}()
	eventually(t, "the client runs", func() bool { return running(t, h.tools) == 3 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the sample ended with %v, want %v", err, context.Canceled)
	}
	eventually(t, "nothing runs", func() bool { return running(t, h.tools) == 0 })
	if left, _ := filepath.Glob(filepath.Join(h.dir, "sample-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// running counts the processes whose program lies in a directory.
func running(t *testing.T, dir string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range lines {
		if text, err := os.ReadFile(path); err == nil && bytes.HasPrefix(text, []byte(dir+"/")) {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("after 10 s it is still not so that %s", what)
		}
	}
}

// spoil relays, but the byte after the first 4 KiB from a client arrives twice.
func spoil(front, target string) {
	listener, err := net.Listen("tcp", front)
	if err != nil {
		panic(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			panic(err)
		}
		go func() { _, _ = io.Copy(client, server) }()
		go func() {
			_, _ = io.CopyN(server, client, 4<<10)
			var next [1]byte
			_, _ = io.ReadFull(client, next[:])
			_, _ = server.Write([]byte{next[0], next[0]})
			_, _ = io.Copy(server, client)
		}()
	}
}
