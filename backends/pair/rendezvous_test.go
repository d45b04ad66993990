package pair

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

func TestClientAndWorkerAreOneToOne(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("clientFirst=%v", clientFirst), func(t *testing.T) {
			s := newScene(t, Options{})
			var client, worker *actor
			if clientFirst {
				client = s.offer(Client, "sniffed ")
				client.send("early ")
				s.stands(1, 0, 0)
				worker = s.offer(Worker, "SNIFFED ")
				worker.send("EARLY ")
			} else {
				worker = s.offer(Worker, "SNIFFED ")
				worker.send("EARLY ")
				s.stands(0, 1, 0)
				client = s.offer(Client, "sniffed ")
				client.send("early ")
			}
			worker.want("sniffed early ")
			client.want("SNIFFED EARLY ")
			client.send("request")
			worker.want("request")
			worker.send("answer")
			client.want("answer")
			s.stands(0, 0, 1)
			client.Close()
			worker.wantEOF()
			worker.Close()
			o := client.wantEnd(Relayed)
			if o.Partner != worker.LocalAddr().String() || o.Stats.AToB != int64(len("sniffed early request")) ||
				o.Stats.BToA != int64(len("SNIFFED EARLY answer")) {
				t.Errorf("client ended as %+v", o)
			}
			if o := worker.wantEnd(Relayed); o.Partner != client.LocalAddr().String() {
				t.Errorf("worker ended as %+v", o)
			}
			s.stands(0, 0, 0)
		})
	}
}

func TestBytesAreIdenticalFromTheFirstOn(t *testing.T) {
	s := newScene(t, Options{})
	client := s.offer(Client, "")
	s.stands(1, 0, 0)
	sent := noise(300_000)
	go client.Write([]byte(sent)) // more than what is kept of a waiting peer, and more than the kernel takes
	worker := s.offer(Worker, "")
	worker.want(sent)
	go worker.Write([]byte(sent))
	client.want(sent)
}

// What is read of a waiting worker is bounded; the rest waits in the kernel, and nothing is lost.
func TestTalkativeWorkerLosesNothing(t *testing.T) {
	s := newScene(t, Options{})
	far := s.offer(Worker, "")
	sent := noise(10 * keptBytesMax)
	go far.Write([]byte(sent))
	s.stands(0, 1, 0)
	s.Rendezvous.mu.Lock()
	var w *worker
	for _, id := range s.rooms[""].identities {
		w = id.best()
	}
	s.Rendezvous.mu.Unlock()
	<-w.tap.stopped // it has read as much as it may
	if n := len(w.tap.kept); n != keptBytesMax {
		t.Errorf("%d bytes were kept, want %d", n, keptBytesMax)
	}
	s.offer(Client, "").want(sent)
}

func TestDeadWorkerIsDroppedAtOnce(t *testing.T) {
	s := newScene(t, Options{})
	clean, reset, alive := s.offer(Worker, ""), s.offer(Worker, ""), s.offer(Worker, "")
	s.stands(0, 3, 0)
	clean.Close()
	reset.SetLinger(0)
	reset.Close()
	clean.wantEnd(Left)
	reset.wantEnd(Left)
	s.stands(0, 1, 0)
	client := s.offer(Client, "hello")
	alive.want("hello")
	client.Close()
}

func TestClientThatLeavesWhileItWaitsCostsNoWorker(t *testing.T) {
	s := newScene(t, Options{})
	impatient := s.offer(Client, "x")
	s.stands(1, 0, 0)
	impatient.Close()
	impatient.wantEnd(Left)
	s.stands(0, 0, 0)
	worker := s.offer(Worker, "")
	s.offer(Client, "hello")
	worker.want("hello")
}

func TestClientIsToldWhenNoWorkerComes(t *testing.T) {
	s := newScene(t, Options{Wait: 50 * time.Millisecond})
	client := s.offer(Client, "hello")
	if o := client.wantEnd(NoWorker); o.Err != ErrNoWorker {
		t.Errorf("error %v", o.Err)
	}
	client.wantEOF()
}

func TestOneClientTooManyIsHeldAndHarmsNobody(t *testing.T) {
	s := newScene(t, Options{WaitingMax: 1})
	first := s.offer(Client, "first")
	s.stands(1, 0, 0)
	second := s.offer(Client, "second")
	eventually(t, "the second is held", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.holds) == 1
	})
	s.offer(Worker, "").want("first")
	second.Close()
	second.wantEnd(Full)
	first.Close()
}

func TestClientOfDeadWorkerMeetsAnother(t *testing.T) {
	s := newScene(t, Options{})
	dead, alive := s.offer(Worker, ""), s.offer(Worker, "")
	s.stands(0, 2, 0)
	client := s.offer(Client, "one")
	alive.want("one") // the freshest
	alive.Close()
	client.wantEOF()
	client.Close()
	client.wantEnd(Relayed)
	again := s.offer(Client, "two")
	dead.want("two")
	again.Close()
}

func TestAgedWorkersAreRetiredAndClientsStillServed(t *testing.T) {
	s := newScene(t, Options{RetireAfter: 40 * time.Millisecond})
	for range 3 {
		worker := s.offer(Worker, "")
		worker.wantEnd(Retired)
		worker.wantEOF()
	}
	s.stands(0, 0, 0)
	s.offer(Client, "hello")
	s.offer(Worker, "").want("hello")
}

func TestWorkerWithAClientIsNotRetired(t *testing.T) {
	const age = time.Second
	s := newScene(t, Options{RetireAfter: age})
	worker := s.offer(Worker, "")
	s.stands(0, 1, 0)
	client := s.offer(Client, "hello")
	worker.want("hello")
	select {
	case o := <-worker.ended:
		t.Errorf("the paired worker ended as %+v", o)
	case <-time.After(age + age/5):
	}
	client.Close()
}

func TestRetireAgeIsJittered(t *testing.T) {
	if got := retireAge(20*time.Second, 0); got != 20*time.Second {
		t.Errorf("at the latest after %v", got)
	}
	if got := retireAge(20*time.Second, .999); got < 15*time.Second || got > 16*time.Second {
		t.Errorf("at the earliest after %v", got)
	}
	if n := len(stagesOf(20 * time.Second)); n != 1 {
		t.Errorf("a worker that retires before it fades has %d stages", n)
	}
	if n := len(stagesOf(0)); n != 2 {
		t.Errorf("a worker that never retires has %d stages", n)
	}
}

func TestShutdownEndsWhoWaitsAndLetsPairsEnd(t *testing.T) {
	s := newScene(t, Options{})
	worker := s.offer(Worker, "")
	client := s.offer(Client, "hello")
	worker.want("hello")
	parked := s.offer(Worker, "")
	s.stands(0, 1, 1)
	cut := make(chan int, 1)
	go func() { cut <- s.Shutdown(t.Context()) }()
	parked.wantEnd(Stopped)
	s.offer(Client, "late").wantEnd(Stopped)
	client.send("still served")
	worker.want("still served")
	client.Close()
	worker.wantEOF()
	worker.Close()
	if n := <-cut; n != 0 {
		t.Errorf("%d cut", n)
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	s := newScene(t, Options{})
	worker := s.offer(Worker, "")
	client := s.offer(Client, "hello")
	worker.want("hello")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if n := s.Shutdown(over); n != 1 {
		t.Errorf("%d cut, want 1", n)
	}
	client.wantEOF()
	client.wantEnd(Relayed)
	worker.wantEnd(Relayed)
}

const crowdPairs = 200

// Clients and workers come and go in every order; each pair keeps to itself.
func TestManyAtOnceDoNotCross(t *testing.T) {
	s := newScene(t, Options{})
	var all sync.WaitGroup
	for i := range crowdPairs {
		worker, near := s.connect(Worker)
		all.Go(func() {
			s.Offer(Worker, near, func(o Outcome) { worker.ended <- o })
			io.Copy(worker, worker)
			worker.Close()
		})
		client, near2 := s.connect(Client)
		all.Go(func() {
			var c net.Conn = near2
			s.Offer(Client, c, func(o Outcome) { client.ended <- o })
			text := fmt.Sprintf("client %d ", i) + noise(3000)
			for range 5 {
				client.Write([]byte(text))
				got := make([]byte, len(text))
				if _, err := io.ReadFull(client, got); err != nil || string(got) != text {
					t.Errorf("client %d got %.40q, error %v", i, got, err)
					break
				}
			}
			client.Close()
		})
	}
	all.Wait()
	s.stands(0, 0, 0)
}
