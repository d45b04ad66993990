//go:build libzmq

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

const (
	mixedClients   = 48 // at the same time
	mixedRounds    = 10 // after each of which everything must be as it was
	mixedSlots     = 2 * mixedClients
	mixedWait      = 30 * time.Second // for anything that one client waits for
	mixedWarmUp    = 2                // rounds
	goroutinesMore = 30               // of the Go runtime and of the admin server
	filesMore      = 8                // of the admin server, and a socket that is just being closed
)

// mixedConfig serves all kinds; which block a ZMTP client meets is up to its address.
func mixedConfig(level, tls, vault, echo, ssh, grpc string) string {
	return fmt.Sprintf(`
listen "127.0.0.1:0" {
  name          = "public"
  sniff_timeout = "2s"
}
listen "127.0.0.1:0" {
  name          = "secure"
  sniff_timeout = "2s"
  %s
}
relay "paired" {
  match { source = ["127.2.0.0/16"] }
  workers {
    listen = "127.0.0.1:0"
    agents = true
  }
  wait = "%v"
}
relay "vault" {
  match {
    source    = ["127.3.0.0/16"]
    mechanism = ["CURVE"]
  }
  dial = [%q]
}
relay "echo" { dial = ["tcp://%s"] }
relay "ssh" {
  match { protocol = "ssh" }
  dial = ["tcp://%s"]
}
backend "interop" { grpc = [%q] }
grpc "*" {
  to "interop" {}
}
sockjs "/chat" {
  push = "tcp://127.0.0.1:0"
  pull = "tcp://127.0.0.1:0"
  disconnect_delay = "500ms"
}
admin { listen = "127.0.0.1:0" }
log { level = %q }
drain_timeout = "1s"
`, tls, mixedWait, vault, echo, ssh, grpc, level)
}

// TestMixedConnectionsWithFaultsLeaveNothing has clients of every kind come and go, a third of them with something going wrong.
// Those that do nothing wrong must be served, each with its own answers, and in the end everything is as it was.
func TestMixedConnectionsWithFaultsLeaveNothing(t *testing.T) {
	t.Parallel() // beside the one that waits most of the time
	keys := newCurveKeys(t)
	a := newAuthority(t)
	cert, key := a.issue("edge", time.Now().Add(time.Hour), "edge.example")
	vault := boundEcho(t, "vault", func(s *zmq.Socket) { keys.worker(t, s) })
	echo, shell, calls := echoServer(t), sshServer(t), grpcServer(t)
	config := func(level string) string { return mixedConfig(level, tlsBlock(cert, key), vault, echo, shell, calls) }
	g := startGatewayAs(t, mixedBinary(t), config("info"))
	g.runProgram(t, echoOrBye)
	startProcess(t, exec.Command(binary, "agent", "-gateway", g.addr("paired/workers"), "-name", "one", "-slots", fmt.Sprint(mixedSlots),
		"-worker", boundEcho(t, "worker", func(*zmq.Socket) {})))
	g.parked(mixedSlots)
	g.replace(config("error")) // a line for each connection would be more than the test can keep
	if code, body := g.post("/reload"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}

	m := &mix{t: t, kinds: mixedKinds(g.addr("public"), g.addr("secure"), a.pool, keys), faults: map[string]int{}}
	start := time.Now()
	var warm footprint
	for round := 1; round <= mixedRounds; round++ {
		m.round(mixedConnections/mixedRounds, uint64(round))
		if t.Failed() {
			return
		}
		g.quiet(mixedSlots)
		now := g.footprint()
		if round <= mixedWarmUp {
			warm = now
			continue
		}
		if now.files > warm.files+filesMore || now.goroutines > warm.goroutines+goroutinesMore || now.resident > warm.resident+mixedGrowthMax {
			t.Fatalf("after round %d there are %v, after the warm-up there were %v", round, now, warm)
		}
		if round == mixedRounds {
			t.Logf("figure: %d connections in %.0f s: %s", m.count.Load(), time.Since(start).Seconds(), m.byKind())
			t.Logf("figure: faults: %s", m.byFault())
			t.Logf("figure: %v after %d connections, %v after %d", warm, mixedWarmUp*mixedConnections/mixedRounds, now, m.count.Load())
		}
	}
}

// footprint is what a process uses.
type footprint struct {
	resident          int64 // bytes
	files, goroutines int
}

func (f footprint) String() string {
	return fmt.Sprintf("%d MiB resident, %d descriptors, %d goroutines", f.resident>>20, f.files, f.goroutines)
}

func (g *gatewayProcess) footprint() footprint {
	g.t.Helper()
	return footprint{int64(g.metric("process_resident_memory_bytes ")), g.descriptors(), int(g.metric("go_goroutines "))}
}

// quiet waits until no connection is left, and all workers are back.
func (g *gatewayProcess) quiet(parked int) {
	g.t.Helper()
	var left string
	eventually(g.t, silentWait, "no connection is left", func() bool {
		left = fmt.Sprintf("%v open, %v sniffing, %v held, %v parked, %v waiting, %v sessions", g.metric("gateway_connections_open"), g.metric("gateway_sniffing"),
			g.metric("gateway_held "), g.metric("gateway_pair_parked"), g.metric("gateway_pair_waiting"), g.metric("gateway_sockjs_sessions"))
		return left == fmt.Sprintf("0 open, 0 sniffing, 0 held, %d parked, 0 waiting, 0 sessions", parked)
	})
}

// mixedBinary is the gateway with the race detector in an ordinary run, and as users have it where memory is what counts.
func mixedBinary(t *testing.T) string {
	t.Helper()
	if mixedWithRaceDetector {
		return binary
	}
	plain := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", plain, "gateway/cmd/gateway").CombinedOutput(); err != nil {
		t.Fatalf("building the gateway: %v\n%s", err, out)
	}
	return plain
}

// mix counts what comes and goes.
type mix struct {
	t     *testing.T
	kinds []mixedKind
	count atomic.Int64

	mu     sync.Mutex
	faults map[string]int
}

// mixedKind is a kind of client, and how often it comes among the others.
type mixedKind struct {
	name   string
	weight int
	addr   string
	net    byte // its clients come from 127.net.0.0/16
	talk   func(c net.Conn, text string) error
	count  *atomic.Int64
}

// round has so many clients come and go.
func (m *mix) round(connections int, seed uint64) {
	m.t.Helper()
	left := atomic.Int64{}
	left.Store(int64(connections))
	var clients sync.WaitGroup
	for i := range mixedClients {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for left.Add(-1) >= 0 && !m.t.Failed() {
				if err := m.one(r); err != nil {
					m.t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// one client comes and goes.
func (m *mix) one(r *rand.Rand) error {
	kind := m.kinds[0]
	for n := r.IntN(100); n >= kind.weight; {
		n -= kind.weight
		kind = m.kinds[slices.IndexFunc(m.kinds, func(k mixedKind) bool { return k.name == kind.name })+1]
	}
	from := &net.TCPAddr{IP: net.IPv4(127, kind.net, byte(r.IntN(256)), byte(1+r.IntN(254)))}
	raw, err := (&net.Dialer{LocalAddr: from, Timeout: mixedWait}).Dial("tcp", kind.addr)
	if err != nil {
		return fmt.Errorf("%s is refused: %w", kind.name, err)
	}
	defer raw.Close()
	c := randomFault(r, raw)
	if err := c.SetDeadline(time.Now().Add(mixedWait)); err != nil {
		return err
	}
	err = kind.talk(c, fmt.Sprintf("%s %x", kind.name, r.Uint64()))
	m.count.Add(1)
	kind.count.Add(1)
	m.mu.Lock()
	m.faults[faultNames[c.fault]]++
	m.mu.Unlock()
	if err != nil && c.harmless() {
		return fmt.Errorf("%s, fault %s: %w", kind.name, faultNames[c.fault], err)
	}
	return nil
}

func (m *mix) byKind() string {
	var all []string
	for _, k := range m.kinds {
		all = append(all, fmt.Sprintf("%s %d", k.name, k.count.Load()))
	}
	return strings.Join(all, ", ")
}

func (m *mix) byFault() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m.faults)) {
		all = append(all, fmt.Sprintf("%s %d", name, m.faults[name]))
	}
	return strings.Join(all, ", ")
}
