//go:build linux

package main

import (
	"strings"
	"testing"
)

// runOf makes a run of one sample a round: the figures of each round are made by values.
func runOf(work string, rounds int, peers map[string]func(round int) Values) *Run {
	r := &Run{Rounds: rounds, Configs: map[string]string{}}
	for round := range rounds {
		for peer, values := range peers {
			r.Samples = append(r.Samples, Sample{Round: round + 1, Work: work, Peer: peer, Values: values(round)})
		}
	}
	return r
}

// rate makes samples of one second with these many operations, round by round.
func rate(operations ...float64) func(int) Values {
	return func(round int) Values {
		return Values{"seconds": 1, "operations": operations[round], "cpu_s": 0.5, "p50_us": 100, "p99_us": 200}
	}
}

func TestMedianIsTheMiddleSample(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Stat
	}{
		{nil, Stat{}},
		{[]float64{7}, Stat{7, 7, 7, 1}},
		{[]float64{4, 1}, Stat{2.5, 1, 4, 2}},
		{[]float64{9, 1, 2}, Stat{2, 1, 9, 3}},
	} {
		if got := stat(c.in); got != c.want {
			t.Errorf("stat(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestNumbersKeepThreeDigits(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.00474: "0.0047", 0.1234: "0.123", 0.9996: "1.00", 1.234: "1.23", 9.996: "10.0", 12.34: "12.3",
		123.4: "123", 9994: "9994", 9996: "10.0 k", 98_760: "98.8 k", 999_600: "1.00 M", 4_190_000: "4.19 M",
	} {
		if got := number(x); got != want {
			t.Errorf("number(%v) = %q, want %q", x, got, want)
		}
	}
}

func TestPeerThatLosesIsNotTheBest(t *testing.T) {
	losing := func(int) Values { return Values{"seconds": 1, "operations": 900, "failed": 1} }
	b := Board{[]*Run{runOf("connect", 1, map[string]func(int) Values{"sslh": losing, "nginx": rate(300), "haproxy": rate(400)})}}
	w := workNamed("connect")
	f, _ := w.figure("rate")
	if peer, st := b.best(w, f); peer == nil || peer.Name != "haproxy" || st.Median != 400 {
		t.Errorf("the best peer is %v with %v, want haproxy with 400", peer, st)
	}
}

func TestGoalComparesMedians(t *testing.T) {
	goal := Goals[0] // ping-64, rate, at least 0.88 of the floor's
	for _, c := range []struct {
		gateway float64
		met     bool
	}{{879, false}, {880, true}} {
		b := Board{[]*Run{runOf("ping-64", 3, map[string]func(int) Values{
			"gateway": rate(c.gateway, 1, 5000), "floor": rate(2000, 1000, 10),
		})}}
		x, ok := goal.value(b)
		if !ok || x != c.gateway/1000 || goal.met(x) != c.met {
			t.Errorf("gateway %v of floor 1000: value %v, %v, met %v; want met %v", c.gateway, x, ok, goal.met(x), c.met)
		}
	}
}

func TestGoalOfWhatIsAddedLeavesTheDirectConnectionOut(t *testing.T) {
	latency := func(us float64) func(int) Values { return func(int) Values { return Values{"p50_us": us} } }
	peers := map[string]func(int) Values{"direct": latency(100), "gateway": latency(130), "nginx": latency(120)}
	for _, g := range Goals {
		if !g.Added {
			continue
		}
		if x, ok := g.value(Board{[]*Run{runOf(g.Work, 1, peers)}}); !ok || x != 1.5 || g.met(x) {
			t.Errorf("%s: %v, %v, met %v; want 1.5, missed", g.Text, x, ok, g.met(x))
		}
		peers["nginx"] = latency(99) // noise: faster than no proxy
		if x, ok := g.value(Board{[]*Run{runOf(g.Work, 1, peers)}}); ok {
			t.Errorf("%s: %v where nginx adds nothing; want no value", g.Text, x)
		}
	}
}

func TestGoalOfTheBridgeIsMadeOfBothDirectHalves(t *testing.T) {
	latency := func(us float64) func(int) Values { return func(int) Values { return Values{"p50_us": us} } }
	for _, g := range Goals {
		if !g.Halves {
			continue
		}
		peers := map[string]func(int) Values{"direct-zmq": latency(100), "direct-grpc": latency(200)}
		for us, met := range map[float64]bool{270: true, 271: false} { // 1.4 x (50 + 100) + 60
			peers[g.holds()] = latency(us)
			if x, ok := g.value(Board{[]*Run{runOf(g.Work, 1, peers)}}); !ok || x != us/270 || g.met(x) != met {
				t.Errorf("%s: %v µs are %v, %v, met %v; want %v, %v", g.Text, us, x, ok, g.met(x), us/270, met)
			}
		}
		delete(peers, "direct-grpc")
		if x, ok := g.value(Board{[]*Run{runOf(g.Work, 1, peers)}}); ok {
			t.Errorf("%s: %v without a direct gRPC; want no value", g.Text, x)
		}
	}
}

func TestGoalsNameWhatExists(t *testing.T) {
	for _, g := range Goals {
		w := workNamed(g.Work)
		if w == nil {
			t.Errorf("%s: no work %q", g.Text, g.Work)
			continue
		}
		if _, ok := w.figure(g.Figure); !ok {
			t.Errorf("%s: work %s has no figure %q", g.Text, g.Work, g.Figure)
		}
		for _, name := range append([]string{g.holds()}, g.Against...) {
			if p := peerNamed(name); p == nil || p.sitsOut(w) != "" {
				t.Errorf("%s: %q does not do %s", g.Text, name, g.Work)
			}
		}
	}
}

func TestEveryPeerIsConfiguredForEveryTarget(t *testing.T) {
	for _, p := range Peers {
		if p.Config == "" {
			continue
		}
		for _, target := range []string{"127.0.0.1:7002", "/run/backend.sock"} {
			s := Scene{Dir: "/scratch", Front: "127.0.0.1:7001", Target: target, Cores: 2, FilesMax: 20_000}
			text, err := p.Configuration(s)
			if err != nil {
				t.Error(err)
				continue
			}
			text += strings.Join(p.Command(s, p.Config), " ")
			for _, want := range []string{s.FrontPort(), target} {
				if !s.TargetIsUnix() || p.CannotDo == nil {
					if !strings.Contains(text, strings.TrimPrefix(want, "127.0.0.1:")) {
						t.Errorf("%s for %s does not name %s:\n%s", p.Name, target, want, text)
					}
				}
			}
		}
	}
}

func TestPublishedConfigurationsNameNoFolderOfThisMachine(t *testing.T) {
	dir := t.TempDir()
	kept := map[string]string{}
	for _, p := range Peers {
		work := workNamed("bulk-1")
		if p.From != "" {
			work = workNamed("bridge-single")
		}
		if _, err := new(harness).script(dir, full, work, p, kept); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(kept["nginx.conf"], "pid "+keptDir+"/nginx.pid;") {
		t.Errorf("nginx keeps its process id nowhere:\n%s", kept["nginx.conf"])
	}
	for name, text := range kept {
		if strings.Contains(text, dir) {
			t.Errorf("%s names the folder of a sample:\n%s", name, text)
		}
	}
}

func TestRunOfAPartDoesNotReplaceThePublishedPage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "docs/BENCHMARKS.md"},
		{"-short", "dist/BENCHMARKS.md"},
		{"-only idle", "dist/BENCHMARKS.md"},
		{"-peers nginx", "dist/BENCHMARKS.md"},
		{"-short -out elsewhere.md", "elsewhere.md"},
	} {
		if o, err := parse(strings.Fields(c.args), t.Output()); err != nil || o.out != c.want {
			t.Errorf("bench %s writes %q (%v), want %q", c.args, o.out, err, c.want)
		}
	}
}

func TestMistypedNameIsAnError(t *testing.T) {
	for _, args := range []string{"-only ping-46", "-peers haproxi"} {
		if err := run(t.Context(), strings.Fields(args), t.Output(), t.Output()); err == nil || !strings.Contains(err.Error(), "bench -list") {
			t.Errorf("bench %s: %v; want an error that leads to -list", args, err)
		}
	}
}

func TestWorksThatVaryHaveSeveralTurnsInAFullRun(t *testing.T) {
	count := func(size Size, work string) (n int) {
		for _, w := range (Plan{Size: size, Works: Works}).turns() {
			if w.Name == work {
				n++
			}
		}
		return n
	}
	if n := count(full, "connect"); n != variedTimes {
		t.Errorf("%d turns, want %d", n, variedTimes)
	}
	if n := count(full, "idle"); n != 1 {
		t.Errorf("%d turns of a steady work, want 1", n)
	}
	if n := count(short, "connect"); n != 1 {
		t.Errorf("%d turns in a short run, want 1", n)
	}
}
