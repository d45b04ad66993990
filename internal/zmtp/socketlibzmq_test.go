//go:build libzmq

package zmtp

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// The tests of this file put a Socket opposite the real libzmq.

// opposite makes one of our sockets and one of libzmq that are connected, either one binding.
func opposite(t *testing.T, ours SocketOptions, theirs zmq.Type, securities [2]Security, theyBind bool, prepare ...func(*zmq.Socket) error) (*Socket, *zmq.Socket) {
	t.Helper()
	ours.Security = securities[0]
	s, z := newSocket(t, ours), libzmqSocket(t, theirs, securities[0], securities[1])
	for _, p := range prepare {
		if err := p(z); err != nil {
			t.Fatal(err)
		}
	}
	if theyBind {
		if err := z.Bind("tcp://127.0.0.1:*"); err != nil {
			t.Fatal(err)
		}
		endpoint, err := z.GetLastEndpoint()
		if err != nil {
			t.Fatal(err)
		}
		dialTo(t, s, endpoint)
	} else if err := z.Connect(bind(t, s)); err != nil {
		t.Fatal(err)
	}
	awaitPeers(t, s, 1)
	return s, z
}

func zput(t *testing.T, z *zmq.Socket, parts ...string) {
	t.Helper()
	if _, err := z.SendMessage(parts); err != nil {
		t.Fatalf("libzmq sends %.40q: %v", parts, err)
	}
}

func zget(t *testing.T, z *zmq.Socket) []string {
	t.Helper()
	got, err := z.RecvMessage(0)
	if err != nil {
		t.Fatalf("libzmq receives: %v", err)
	}
	return got
}

// eachWay runs with and without CURVE, and with libzmq connecting and binding. The message of the largest size, which
// takes CURVE its time, goes once.
func eachWay(t *testing.T, run func(t *testing.T, s [2]Security, theyBind bool, shapes [][]string)) {
	all := allSecurities(t)
	for _, name := range []string{"NULL", "CURVE"} {
		for who, binds := range map[string]bool{"libzmq connects": false, "libzmq binds": true} {
			sent := shapes
			if name == "NULL" && binds {
				sent = append([][]string{{"head", strings.Repeat("L", largestBodyBytes-16), "", "tail"}}, shapes...)
			}
			t.Run(name+"/"+who, func(t *testing.T) { run(t, all[name], binds, sent) })
		}
	}
}

func TestLibzmqPullsWhatWePushAndPushesWhatWePull(t *testing.T) {
	eachWay(t, func(t *testing.T, s [2]Security, binds bool, shapes [][]string) {
		push, zpull := opposite(t, ofType(PUSH), zmq.PULL, s, binds)
		pull, zpush := opposite(t, ofType(PULL), zmq.PUSH, s, binds)
		for _, parts := range shapes {
			put(t, push, parts...)
			want(t, zget(t, zpull), parts...)
			zput(t, zpush, parts...)
			want(t, get(t, pull), parts...)
		}
	})
}

func TestLibzmqAsksAndAnswers(t *testing.T) {
	eachWay(t, func(t *testing.T, s [2]Security, binds bool, shapes [][]string) {
		req, zrep := opposite(t, ofType(REQ), zmq.REP, s, binds)
		rep, zreq := opposite(t, ofType(REP), zmq.REQ, s, binds)
		for _, parts := range shapes {
			put(t, req, parts...)
			want(t, zget(t, zrep), parts...)
			zput(t, zrep, parts...)
			want(t, get(t, req), parts...)
			zput(t, zreq, parts...)
			want(t, get(t, rep), parts...)
			put(t, rep, parts...)
			want(t, zget(t, zreq), parts...)
		}
	})
}

func TestLibzmqRoutesAndDeals(t *testing.T) {
	eachWay(t, func(t *testing.T, s [2]Security, binds bool, shapes [][]string) {
		o := ofType(DEALER)
		o.Identity = []byte("ours")
		dealer, zrouter := opposite(t, o, zmq.ROUTER, s, binds)
		router, zdealer := opposite(t, ofType(ROUTER), zmq.DEALER, s, binds, func(z *zmq.Socket) error { return z.SetIdentity("theirs") })
		for _, parts := range shapes {
			put(t, dealer, parts...)
			want(t, zget(t, zrouter), append([]string{"ours"}, parts...)...)
			zput(t, zrouter, append([]string{"ours"}, parts...)...)
			want(t, get(t, dealer), parts...)
			zput(t, zdealer, parts...)
			want(t, get(t, router), append([]string{"theirs"}, parts...)...)
			put(t, router, append([]string{"theirs"}, parts...)...)
			want(t, zget(t, zdealer), parts...)
		}
	})
}

// hear lets libzmq look at what came: a SUB that binds notices a new publisher only within a call.
func hear(t *testing.T, z *zmq.Socket) {
	t.Helper()
	if got, err := z.RecvMessage(zmq.DONTWAIT); err == nil {
		t.Errorf("libzmq received %q", got)
	}
}

func TestLibzmqSubscribesAndPublishes(t *testing.T) {
	eachWay(t, func(t *testing.T, s [2]Security, binds bool, shapes [][]string) {
		pub, zsub := opposite(t, ofType(PUB), zmq.SUB, s, binds, func(z *zmq.Socket) error { return z.SetSubscribe("topic") })
		sub, zxpub := opposite(t, ofType(SUB), zmq.XPUB, s, binds)
		if err := sub.Subscribe([]byte("topic")); err != nil {
			t.Fatal(err)
		}
		want(t, zget(t, zxpub), "\x01topic")
		eventually(t, "libzmq's subscription comes", func() bool { hear(t, zsub); return wishes(pub) == 1 })
		for _, parts := range shapes {
			parts = append([]string{"topics"}, parts...)
			put(t, pub, "other", "unheard")
			put(t, pub, parts...)
			want(t, zget(t, zsub), parts...)
			zput(t, zxpub, "other", "unheard")
			zput(t, zxpub, parts...)
			want(t, get(t, sub), parts...)
		}
		if err := zsub.SetUnsubscribe("topic"); err != nil {
			t.Fatal(err)
		}
		awaitWishes(t, pub, 0)
		if err := sub.Cancel([]byte("topic")); err != nil {
			t.Fatal(err)
		}
		want(t, zget(t, zxpub), "\x00topic")
	})
}

func TestHundredLibzmqClientsAreAnsweredAtOnce(t *testing.T) {
	const clients, questions = 100, 20
	rep := newSocket(t, ofType(REP))
	endpoint := bind(t, rep)
	ctx := testContext(t)
	go func() {
		for m := (&Message{}); rep.Recv(ctx, m) == nil; {
			_ = rep.Send(ctx, m) // its client reports what is missing
		}
	}()
	var all sync.WaitGroup
	for i := range clients {
		z := libzmqSocket(t, zmq.REQ, Null{}, Null{})
		all.Go(func() {
			if err := z.Connect(endpoint); err != nil {
				t.Error(err)
				return
			}
			for j := range questions {
				question := fmt.Sprint(i, "/", j)
				_, errSent := z.SendMessage(question)
				got, err := z.RecvMessage(0)
				if err != nil || errSent != nil || len(got) != 1 || got[0] != question {
					t.Errorf("asked %s, got %q: %v %v", question, got, errSent, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestWorkersOfLibzmqThatLeaveAreReplaced(t *testing.T) {
	push := newSocket(t, ofType(PUSH))
	endpoint := bind(t, push)
	for i := range 5 {
		z := libzmqSocket(t, zmq.PULL, Null{}, Null{})
		if err := z.Connect(endpoint); err != nil {
			t.Fatal(err)
		}
		put(t, push, fmt.Sprint(i))
		want(t, zget(t, z), fmt.Sprint(i))
		z.Close()
		awaitPeers(t, push, 0)
	}
}

func TestHeartbeatingLibzmqStaysAPeer(t *testing.T) {
	t.Parallel() // it waits
	left := make(chan error, 10)
	o := ofType(PULL)
	o.Changed = func(_ *Link, up bool, err error) {
		if !up {
			left <- err
		}
	}
	pull, z := opposite(t, o, zmq.PUSH, [2]Security{Null{}, Null{}}, false, func(z *zmq.Socket) error {
		return errors.Join(z.SetHeartbeatIvl(20*time.Millisecond), z.SetHeartbeatTimeout(heartbeatFor*3/4))
	})
	select {
	case err := <-left:
		t.Fatalf("libzmq left: %v", err)
	case <-time.After(heartbeatFor):
	}
	zput(t, z, "still here")
	want(t, get(t, pull), "still here")
}

// TestManyMessagesArriveOnceAndMemoryStaysFlat pulls from libzmq and pushes to it.
func TestManyMessagesArriveOnceAndMemoryStaysFlat(t *testing.T) {
	pull, zpush := opposite(t, ofType(PULL), zmq.PUSH, [2]Security{Null{}, Null{}}, false)
	push, zpull := opposite(t, ofType(PUSH), zmq.PULL, [2]Security{Null{}, Null{}}, false)
	if err := errors.Join(zpull.SetRcvtimeo(socketMessagesWait), zpush.SetSndtimeo(socketMessagesWait)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := range socketMessages {
			if _, err := zpush.SendMessage(fmt.Sprint(i)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	pulled := make(chan error, 1)
	go func() {
		for i := range socketMessages {
			if got, err := zpull.RecvMessage(0); err != nil || got[0] != fmt.Sprint(i) {
				pulled <- fmt.Errorf("message %d is %q: %v", i, got, err)
				return
			}
		}
		pulled <- nil
	}()
	m, ctx := &Message{}, t.Context()
	watchdog := time.AfterFunc(socketMessagesWait, func() { closeNow(pull); closeNow(push) })
	defer watchdog.Stop()
	var grown uint64
	for i := range socketMessages {
		if err := pull.Recv(ctx, m); err != nil || string(m.Part(0)) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q: %v", i, m.Parts(), err)
		}
		if err := push.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
		if i == socketMessages/10 {
			grown = heapBytes()
		}
	}
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	if now := heapBytes(); now > grown+4<<20 {
		t.Errorf("the heap grew from %d to %d bytes", grown, now)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
