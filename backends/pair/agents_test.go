package pair

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gateway/backends/pair/agent"
	"gateway/internal/freeport"
)

// openDoor offers all that connects as agents, at an address of its own.
func (s *scene) openDoor(addr string) net.Listener {
	s.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.Offer(Agent, c, func(Outcome) {})
		}
	}()
	return l
}

// tagger is a worker that binds: it answers with its tag, then echoes. It can be stopped and started again at its address.
type tagger struct {
	t     *testing.T
	tag   string
	l     net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newTagger(t *testing.T, tag string) *tagger {
	t.Helper()
	w := &tagger{t: t, tag: tag}
	w.start(freeport.Keep(t)) // it may stop, and start there again
	t.Cleanup(w.stop)
	return w
}

func (w *tagger) start(addr string) {
	w.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.l = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.conns = append(w.conns, c)
			w.mu.Unlock()
			go func() {
				defer c.Close()
				io.WriteString(c, w.tag)
				io.Copy(c, c)
			}()
		}
	}()
}

func (w *tagger) stop() {
	w.l.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// runAgent runs an agent until the test ends, or until the function that it returns is called.
func runAgent(t *testing.T, o agent.Options) (a *agent.Agent, stop func()) {
	t.Helper()
	o.RetryMin, o.RetryMax = 5*time.Millisecond, 50*time.Millisecond
	a, err := agent.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		a.Drain(ctx)
	})
	t.Cleanup(stop)
	return a, stop
}

func (w *tagger) options(name string, door net.Listener, slots int) agent.Options {
	return agent.Options{Gateway: door.Addr().String(), Worker: "tcp://" + w.l.Addr().String(), Name: name, Slots: slots}
}

// served meets a worker and tells its tag, of one letter.
func (s *scene) served() (client *actor, tag string) {
	s.t.Helper()
	client = s.offer(Client, "")
	b := make([]byte, 1)
	if _, err := io.ReadFull(client, b); err != nil {
		s.t.Fatalf("no worker: %v", err)
	}
	client.send("hello")
	client.want("hello")
	return client, string(b)
}

func TestAgentKeepsItsSlotsAndDialsAfreshForEachClient(t *testing.T) {
	s := newScene(t, Options{})
	w := newTagger(t, "a")
	runAgent(t, w.options("alpha", s.openDoor("127.0.0.1:0"), 3))
	s.stands(0, 3, 0)
	for range 5 {
		client, _ := s.served()
		s.stands(0, 2, 1)
		client.Close()
		if o := client.end(); o.Partner != "alpha" {
			t.Errorf("partner %q", o.Partner)
		}
		s.stands(0, 3, 0)
	}
}

// secondGateway is an address of this machine from which nobody connects: there any port is free.
const secondGateway = "127.0.77.1"

func TestWorkerNeverHasMoreClientsThanSlotsWhicheverTheGateway(t *testing.T) {
	one, two := newScene(t, Options{}), newScene(t, Options{Wait: time.Minute})
	w := newTagger(t, "a")
	first := one.openDoor("127.0.0.1:0")
	_, port, _ := net.SplitHostPort(first.Addr().String())
	two.openDoor(net.JoinHostPort(secondGateway, port))
	o := w.options("alpha", first, 2)
	o.Gateway = net.JoinHostPort("gateways.test", port)
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr(secondGateway)}, nil
	}
	a, _ := runAgent(t, o)
	one.stands(0, 2, 0)
	two.stands(0, 2, 0)
	client, _ := one.served()
	one.stands(0, 1, 1)
	two.stands(0, 1, 0)
	other, _ := two.served()
	one.stands(0, 0, 1)
	two.stands(0, 0, 1)
	if n := a.Serving(); n != 2 {
		t.Errorf("%d clients", n)
	}
	waiting := two.offer(Client, "")
	two.stands(1, 0, 1)
	client.Close()
	waiting.want("a")
	other.Close()
}

func TestAgentOfDeadWorkerWithdrawsItsSlotsUntilItIsBack(t *testing.T) {
	s := newScene(t, Options{Wait: time.Minute})
	door := s.openDoor("127.0.0.1:0")
	alpha, beta := newTagger(t, "a"), newTagger(t, "b")
	runAgent(t, alpha.options("alpha", door, 2))
	runAgent(t, beta.options("beta", door, 2))
	s.stands(0, 4, 0)
	addr := alpha.l.Addr().String()
	alpha.stop()
	for range 2 { // whichever is asked first, nobody notices
		client, tag := s.served()
		if tag != "b" {
			t.Errorf("served by %q", tag)
		}
		defer client.Close()
	}
	s.stands(0, 0, 2)
	alpha.start(addr)
	s.stands(0, 2, 2)
	if client, tag := s.served(); tag != "a" {
		t.Errorf("served by %q", tag)
		client.Close()
	}
}

func TestAgentComesBackWhenTheGatewayDoes(t *testing.T) {
	w := newTagger(t, "a")
	s := newScene(t, Options{})
	door := s.openDoor(freeport.Keep(t))
	runAgent(t, w.options("alpha", door, 2))
	s.stands(0, 2, 0)
	door.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(over)
	again := newScene(t, Options{})
	again.openDoor(door.Addr().String())
	again.stands(0, 2, 0)
}

func TestAgentWithAWrongTokenGetsNoClient(t *testing.T) {
	s := newScene(t, Options{Token: "swordfish", Wait: 300 * time.Millisecond})
	w := newTagger(t, "a")
	door := s.openDoor("127.0.0.1:0")
	wrong := w.options("alpha", door, 2)
	wrong.Token = "sword"
	_, stop := runAgent(t, wrong)
	s.offer(Client, "").wantEnd(NoWorker)
	stop()
	right := w.options("beta", door, 2)
	right.Token = "swordfish"
	runAgent(t, right)
	s.stands(0, 2, 0)
}

func TestDrainingAgentLetsItsClientsEnd(t *testing.T) {
	s := newScene(t, Options{})
	w := newTagger(t, "a")
	a, err := agent.New(w.options("alpha", s.openDoor("127.0.0.1:0"), 2))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	client, _ := s.served()
	s.stands(0, 1, 1)
	cancel()
	<-ended
	s.stands(0, 0, 1)
	client.send("still served")
	client.want("still served")
	cut := make(chan int, 1)
	go func() { cut <- a.Drain(t.Context()) }()
	client.Close()
	if n := <-cut; n != 0 {
		t.Errorf("%d cut", n)
	}
}

func TestLeastLoadedAgentIsAsked(t *testing.T) {
	s := newScene(t, Options{})
	door := s.openDoor("127.0.0.1:0")
	for _, tag := range []string{"a", "b", "c"} {
		runAgent(t, newTagger(t, tag).options("agent-"+tag, door, 4))
	}
	s.stands(0, 12, 0)
	met := map[string]int{}
	for range 6 {
		client, tag := s.served()
		defer client.Close()
		met[tag]++
	}
	for tag, n := range met {
		if n != 2 || len(met) != 3 {
			t.Errorf("agent %s has %d of 6 clients: %v", tag, n, met)
		}
	}
}

// through stands between an agent and a door, until it is frozen: then nothing passes any more, and nothing ends.
func through(t *testing.T, door net.Listener) (l net.Listener, freeze func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	frozen, over := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	pass := func(from, to net.Conn) {
		defer to.Close()
		for buf := make([]byte, 4096); ; {
			n, err := from.Read(buf)
			select {
			case <-frozen:
				<-over
				return
			default:
			}
			if _, errWrite := to.Write(buf[:n]); err != nil || errWrite != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", door.Addr().String())
			if err != nil {
				near.Close()
				continue
			}
			all.Go(func() { pass(near, far) })
			all.Go(func() { pass(far, near) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(over)
		all.Wait()
	})
	return l, sync.OnceFunc(func() { close(frozen) })
}

// An agent that hangs, with all its slots parked, costs a client one wait, and not one for each slot.
func TestClientOfAnAgentThatHangsMeetsAnother(t *testing.T) {
	s := newScene(t, Options{Affinity: AffinitySource})
	door := s.openDoor("127.0.0.1:0")
	freezes := map[string]func(){}
	for _, tag := range []string{"a", "b"} {
		way, freeze := through(t, door)
		runAgent(t, newTagger(t, tag).options("agent-"+tag, way, 4))
		freezes[tag] = freeze
	}
	s.stands(0, 8, 0)
	before, favourite := s.served()
	before.Close()
	before.end()
	s.stands(0, 8, 0)
	freezes[favourite]()
	start := time.Now()
	if _, tag := s.served(); tag == favourite {
		t.Errorf("served by %q, which hangs", tag)
	} else if took := time.Since(start); took < summonTimeout {
		t.Errorf("it was served after %v: nobody hung", took)
	}
	s.stands(0, 3, 1)
}

// Two gateways that do not know of each other send a client to the same agent; when that is gone, to the same second one.
func TestTwoGatewaysChooseAlike(t *testing.T) {
	met := ""
	for gatewayNumber := range 2 {
		s := newScene(t, Options{Affinity: AffinitySource})
		door := s.openDoor("127.0.0.1:0")
		for i := range 5 {
			runAgent(t, newTagger(t, fmt.Sprint(i)).options(fmt.Sprintf("w%d", i), door, 2))
		}
		s.stands(0, 10, 0)
		for range 3 {
			client, tag := s.served()
			client.Close()
			client.end()
			if met = cmp.Or(met, tag); met != tag {
				t.Errorf("gateway %d sent the client to %s, before to %s", gatewayNumber, tag, met)
			}
		}
	}
}
