package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"gateway/demo/peers"
)

// watched is an output that tests can wait on.
type watched struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // holds a token when something was written
}

func newWatched() *watched { return &watched{grown: make(chan struct{}, 1)} }

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.grown <- struct{}{}:
	default:
	}
	return w.text.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) await(t *testing.T, part string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !strings.Contains(w.String(), part) {
		select {
		case <-w.grown:
		case <-deadline:
			t.Fatalf("%q was not written; this was:\n%s", part, w)
		}
	}
}

func TestDemoDeliversEverythingAndShowsIt(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out string
	for duration := 200 * time.Millisecond; ; duration *= 4 { // a busy machine shows less in a short time
		var stdout, stderr bytes.Buffer
		code := run([]string{"demo", "-listen", "127.0.0.1:0", "-for", duration.String(), "-every", "10ms"}, &stdout, &stderr)
		out = stdout.String()
		if code != exitOK || stderr.Len() > 0 {
			t.Fatalf("exit code %d: %s\n%s", code, &stderr, out)
		}
		missing := notShown(out)
		if len(missing) == 0 {
			break
		}
		if duration > 10*time.Second {
			t.Fatalf("not shown: %q\n%s", missing, out)
		}
	}
	// Those of the worker that is killed come back.
	if n := strings.Count(out, " detected "); n < len(demoClients) || n > len(demoClients)+vaultSlots {
		t.Errorf("%d connections were detected, want one for each of %d clients, and for those whose worker was killed", n, len(demoClients))
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > screenColumns {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
	if strings.ContainsRune(out, '\x1b') {
		t.Error("colours were written to something that is no terminal")
	}
	if t.Failed() {
		t.Logf("the output:\n%s", out)
	}
}

// notShown lists what the demo's output lacks of what it is to show.
func notShown(out string) (missing []string) {
	for _, want := range []string{
		`push-1 +sent +#1 +Hello from push-1\n`,
		`pull +received +#1 +from push-2: Hello from push-2\n`,
		`call-1 +answered +#1 +Hello, call-1! \(served by greeter\)\n`,
		`greeter +received +from call-2: asks for a greeting\n`,
		`gateway +detected +zmtp from 127\.0\.0\.1:\d+ → messages\n`,
		`gateway +detected +http2 from 127\.0\.0\.1:\d+ → grpc\n`,
		`ask-1 +answered +#1 +Hello, ask-1! \(kept by safe-[123]\)\n`,
		`safe-1 +lost +killed`,
		`gateway +detected +zmtp from 127\.0\.0\.1:\d+ → vault\n`,
		`gateway +ended +zmtp from 127\.0\.0\.1:\d+, \d+ bytes in, \d+ out: `,
		`\nEverything that was sent arrived: [1-9]\d* ZeroMQ messages and [1-9]\d* gRPC calls over one port\.\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			missing = append(missing, want)
		}
	}
	return missing
}

func TestDemoEndsWithCtrlC(t *testing.T) {
	defer goleak.VerifyNone(t)
	stdout, ended := newWatched(), make(chan int, 1)
	go func() {
		ended <- demo([]string{"-listen", "127.0.0.1:0", "-for", "0", "-every", "10ms"}, stdout, os.Stderr)
	}()
	stdout.await(t, "answered")
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-ended:
		if code != exitOK || !strings.Contains(stdout.String(), "Everything that was sent arrived") {
			t.Errorf("exit code %d:\n%s", code, stdout)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it did not end")
	}
}

func TestDemoOnATakenPortNamesItAndAWayOut(t *testing.T) {
	defer goleak.VerifyNone(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var stdout, stderr bytes.Buffer
	code := demo([]string{"-listen", taken.Addr().String()}, &stdout, &stderr)
	if code != exitError || stdout.Len() > 0 {
		t.Errorf("exit code %d, written: %s", code, &stdout)
	}
	for _, want := range []string{"cannot listen on " + taken.Addr().String(), "another program", "gateway demo -listen 127.0.0.1:0"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is not in: %s", want, &stderr)
		}
	}
}

func TestDemoFailsWhenSomethingIsMissing(t *testing.T) {
	liar := func(_ context.Context, c peers.Client, report peers.Report) error {
		report(peers.Event{Peer: c.Name, Kind: peers.Sent, Seq: 1})
		return nil
	}
	broken := func(context.Context, peers.Client, peers.Report) error { return peers.ErrUnreachable }
	for name, extra := range map[string]demoClient{
		"a message that never left": {name: "push-3", is: zmqPush, send: liar},
		"a call without an answer":  {name: "call-3", is: grpcCalls, send: liar},
		"a client that fails":       {name: "push-3", is: zmqPush, send: broken},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			var stdout, stderr bytes.Buffer
			d := newDemonstration(&stdout, append([]demoClient{extra}, demoClients...))
			d.listen, d.duration, d.every = "127.0.0.1:0", 50*time.Millisecond, 10*time.Millisecond
			if code := d.show(t.Context(), &stderr); code != exitError {
				t.Errorf("exit code %d: %s\n%s", code, &stderr, &stdout)
			}
		})
	}
}

func TestDemoRefusesFlagsThatMakeNoSense(t *testing.T) {
	for _, args := range [][]string{{"-for", "-1s"}, {"-every", "0"}, {"now"}, {"-what"}} {
		var stdout, stderr bytes.Buffer
		if code := demo(args, &stdout, &stderr); code != exitUsage || stderr.Len() == 0 {
			t.Errorf("%v: exit code %d: %s", args, code, &stderr)
		}
	}
}

func TestTallyKnowsWhatIsMissing(t *testing.T) {
	sent := func(who string, seq int) peers.Event { return peers.Event{Peer: who, Kind: peers.Sent, Seq: seq} }
	answered := func(who string, seq int) peers.Event {
		return peers.Event{Peer: who, Kind: peers.Answered, Seq: seq}
	}
	pulled := func(from string, seq int) peers.Event {
		return peers.Event{Peer: demoPull, Kind: peers.Received, From: from, Seq: seq}
	}
	asked := func(from string) peers.Event { return peers.Event{Peer: demoGreeter, Kind: peers.Received, From: from} }
	for name, test := range map[string]struct {
		events  []peers.Event
		verdict string
	}{
		"all arrived": {
			[]peers.Event{sent("push-1", 1), pulled("push-1", 1), sent("call-1", 1), asked("call-1"), answered("call-1", 1)},
			"Everything that was sent arrived: 1 ZeroMQ messages and 1 gRPC calls over one port.",
		},
		"arrived before it was told": {
			[]peers.Event{pulled("push-1", 1), sent("push-1", 1)},
			"Everything that was sent arrived: 1 ZeroMQ messages and 0 gRPC calls over one port.",
		},
		"a call was repeated": {
			[]peers.Event{sent("call-1", 1), asked("call-1"), asked("call-1"), answered("call-1", 1)},
			"Everything that was sent arrived: 0 ZeroMQ messages and 1 gRPC calls over one port.",
		},
		"one message is missing": {
			[]peers.Event{sent("push-1", 1), sent("push-1", 2), pulled("push-1", 2)},
			"1 of 2 messages and calls are missing: what a peer lost it told above.",
		},
		"one answer is missing": {
			[]peers.Event{sent("call-1", 1), asked("call-1")},
			"1 of 1 messages and calls are missing: what a peer lost it told above.",
		},
		"a message came twice": {
			[]peers.Event{sent("push-1", 1), pulled("push-1", 1), pulled("push-1", 1)},
			"Messages arrived twice or out of order: the gateway or a peer is broken.",
		},
		"another's message does not make up for it": {
			[]peers.Event{sent("push-1", 1), pulled("push-2", 1)},
			"1 of 1 messages and calls are missing: what a peer lost it told above.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tally := newTally(demoClients)
			for _, e := range test.events {
				tally.add(e)
			}
			verdict, complete := tally.verdict()
			if verdict != test.verdict || complete != strings.HasPrefix(verdict, "Everything") {
				t.Errorf("complete %v: %s", complete, verdict)
			}
		})
	}
}

func TestScreenUsesColourOnlyWhereItMay(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, colour: true, started: time.Now()}
	s.event(peers.Event{Peer: "push-1", Kind: peers.Lost, Text: strings.Repeat("x", 200)})
	if got := out.String(); !strings.Contains(got, red+"push-1  "+reset) || !strings.Contains(got, "x…") {
		t.Errorf("written: %q", got)
	}
	if newScreen(&out).colour {
		t.Error("a buffer gets colours")
	}
}
