package pair

import (
	"errors"
	"fmt"
	"testing"
)

// roomy is a room for tests, with peers that have no connection.
type roomy struct {
	*room
	t *testing.T
}

func newRoomy(t *testing.T, affinity bool) roomy {
	t.Helper()
	return roomy{newRoom(&counts{waitingMax: 10, parkedMax: 10}, affinity), t}
}

// worker parks one that must stay.
func (r roomy) worker(name string) *worker {
	r.t.Helper()
	w := &worker{name: name}
	if c := r.parks(w); c != nil {
		r.t.Fatalf("a worker of %s met a client", name)
	}
	return w
}

func (r roomy) parks(w *worker) *client {
	r.t.Helper()
	c, err := r.park(w, w.name)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r roomy) arrives(c *client) *worker {
	r.t.Helper()
	w, err := r.arrive(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// waiter is a client that must wait.
func (r roomy) waiter(key string) *client {
	r.t.Helper()
	c := &client{}
	c.place.key = hashText(key)
	if w := r.arrives(c); w != nil {
		r.t.Fatalf("client %s met a worker of %s", key, w.name)
	}
	return c
}

func TestFreshestWorkerIsTakenFirst(t *testing.T) {
	r := newRoomy(t, false)
	a, b, c := r.worker("w"), r.worker("w"), r.worker("w")
	for i, want := range []*worker{c, b, a} {
		if got := r.arrives(&client{}); got != want {
			t.Errorf("client %d: not the freshest", i)
		}
	}
	if r.counts.parked != 0 || r.identities["w"].busy != 3 {
		t.Errorf("%+v, %d busy", r.counts, r.identities["w"].busy)
	}
}

func TestWorkerWhoseClientLeftFindsItsOldPlace(t *testing.T) {
	r := newRoomy(t, false)
	old, fresh := r.worker("w"), r.worker("w")
	r.withdraw(old)
	r.parks(old)
	if got := r.arrives(&client{}); got != fresh {
		t.Error("the older worker was taken first")
	}
}

func TestLeastLoadedIdentityIsTaken(t *testing.T) {
	r := newRoomy(t, false)
	for range 3 {
		r.worker("a")
		r.worker("b")
	}
	taken := map[string]int{}
	for range 4 {
		taken[r.arrives(&client{}).name]++
	}
	if taken["a"] != 2 || taken["b"] != 2 {
		t.Errorf("taken: %v", taken)
	}
	r.identities["a"].elsewhere = 5 // its agent serves others too
	r.fix(r.identities["a"])
	if w := r.arrives(&client{}); w.name != "b" {
		t.Error("the loaded agent was taken")
	}
	for range 2 {
		r.ended(&worker{place: workerPlace{identity: r.identities["a"]}})
	}
	if got := r.identities["a"].load(); got != 5 {
		t.Errorf("load %d after its pairs ended, want 5", got)
	}
}

func TestFadingWorkerIsTakenLast(t *testing.T) {
	r := newRoomy(t, false)
	fading := r.worker("a")
	r.fade(fading)
	busy := r.worker("b")
	r.identities["b"].elsewhere = 7
	r.fix(r.identities["b"])
	if got := r.arrives(&client{}); got != busy {
		t.Error("the fading worker of the idle identity was taken before the other")
	}
	if got := r.arrives(&client{}); got != fading {
		t.Error("the fading worker was not taken though there is no other")
	}
}

func TestWorkerThatOutlivesItsTimerIsTakenAgain(t *testing.T) {
	r := newRoomy(t, false)
	immortal := r.worker("a")
	fading := r.worker("a")
	r.fade(immortal)
	r.outlive(immortal)
	r.fade(fading)
	if got := r.arrives(&client{}); got != immortal {
		t.Error("the fading worker was taken")
	}
}

func TestClientsAreServedInTheOrderOfTheirArrival(t *testing.T) {
	r := newRoomy(t, false)
	clients := []*client{r.waiter("1"), r.waiter("2"), r.waiter("3"), r.waiter("4")}
	if !r.leave(clients[1]) || r.leave(clients[1]) {
		t.Error("a client leaves once")
	}
	for _, want := range []*client{clients[0], clients[2], clients[3]} {
		if got := r.parks(&worker{name: "w"}); got != want {
			t.Error("not the first in the line")
		}
	}
	if r.counts.waiting != 0 {
		t.Errorf("%d still wait", r.counts.waiting)
	}
}

func TestClientOfDeadWorkerIsFirstAgain(t *testing.T) {
	r := newRoomy(t, false)
	first := r.waiter("1")
	w := &worker{name: "w"}
	if r.parks(w) != first {
		t.Fatal("not the first")
	}
	r.waiter("2")
	r.ended(w)
	if got := r.arrives(first); got != nil {
		t.Fatal("there is no worker")
	}
	if r.parks(&worker{name: "w"}) != first {
		t.Error("it lost its place")
	}
}

func TestRoomIsBounded(t *testing.T) {
	r := newRoomy(t, false)
	for range r.counts.waitingMax {
		r.waiter("c")
	}
	if _, err := r.arrive(&client{}); !errors.Is(err, ErrFull) {
		t.Errorf("one client too many: %v", err)
	}
	r = newRoomy(t, false)
	for range r.counts.parkedMax {
		r.worker("w")
	}
	if _, err := r.park(&worker{}, "stranger"); !errors.Is(err, ErrFull) || len(r.identities) != 1 {
		t.Errorf("got %v; %d identities, want the one that has a worker", err, len(r.identities))
	}
	if _, err := r.park(&worker{}, "w"); !errors.Is(err, ErrFull) {
		t.Errorf("one worker too many: %v", err)
	}
}

// ranked are the names in the order of the client's preference.
func (r roomy) ranked(key string, names []string) []string {
	alone := newRoomy(r.t, true)
	for _, name := range names {
		alone.worker(name)
	}
	var order []string
	for range names {
		c := &client{}
		c.place.key, c.place.settled = hashText(key), true
		order = append(order, alone.arrives(c).name)
	}
	return order
}

func TestClientMeetsItsFavouriteAgain(t *testing.T) {
	names := []string{"w1", "w2", "w3", "w4", "w5"}
	used := map[string]bool{}
	for i := range 20 {
		key := fmt.Sprintf("source:127.0.0.%d", i)
		r := newRoomy(t, true)
		order := r.ranked(key, names)
		used[order[0]] = true
		for _, name := range names {
			r.worker(name)
			r.worker(name)
		}
		for range 2 {
			c := &client{}
			c.place.key = hashText(key)
			if w := r.arrives(c); w == nil || w.name != order[0] {
				t.Fatalf("%s did not meet %s", key, order[0])
			}
		}
	}
	if len(used) < 4 {
		t.Errorf("20 clients prefer %d of 5 workers only", len(used))
	}
}

func TestClientWaitsForItsBusyFavouriteThenTakesTheNext(t *testing.T) {
	r := newRoomy(t, true)
	names := []string{"a", "b", "c"}
	order := r.ranked("me", names)
	for _, name := range names {
		r.worker(name)
	}
	favourite := &client{}
	favourite.place.key = hashText("me")
	first := r.arrives(favourite)
	if first == nil || first.name != order[0] {
		t.Fatal("not the favourite")
	}
	patient, other := r.waiter("me"), r.waiter("me")
	r.ended(first)
	if got := r.parks(&worker{name: order[0]}); got != patient {
		t.Error("the favourite was free again and the client that waited did not get it")
	}
	if w := r.settle(other); w == nil || w.name != order[1] {
		t.Error("who waited long enough did not get the second in rank")
	}
}

func TestSettledClientTakesAnyWorkerThatComes(t *testing.T) {
	r := newRoomy(t, true)
	w := r.worker("a")
	c := &client{}
	if r.arrives(c) != w {
		t.Fatal("not served")
	}
	picky := r.waiter("x")
	if r.settle(picky) != nil {
		t.Fatal("there is no free worker")
	}
	if r.parks(&worker{name: "b"}) != picky {
		t.Error("it did not take the worker that came")
	}
}

func TestClientsOfAnIdentityThatIsGoneChooseAgain(t *testing.T) {
	r := newRoomy(t, true)
	w := r.worker("a")
	first := &client{}
	first.place.key = hashText("x")
	if r.arrives(first) != w {
		t.Fatal("not served")
	}
	stranded := r.waiter("x")
	id := r.identities["a"]
	if _, gone := r.forget(id); gone {
		t.Error("forgotten while it has a client")
	}
	r.ended(w)
	clients, gone := r.forget(id)
	if !gone || len(clients) != 1 || clients[0] != stranded || stranded.place.element != nil {
		t.Errorf("stranded: %v, gone %v", clients, gone)
	}
	if r.counts.waiting != 0 || len(r.identities) != 0 {
		t.Errorf("%+v, %d identities", r.counts, len(r.identities))
	}
}

// Gateways agree on who is whose favourite as long as the hash stays what it is, from release to release.
func TestAffinityHashIsFixed(t *testing.T) {
	for _, c := range []struct {
		client, worker string
		want           uint64
	}{
		{"source:127.0.0.1", "w1", 0xafb9ccc10e5e3412},
		{"source:127.0.0.1", "w2", 0x74df4cfcfdf2cde0},
		{"identity:alice", "10.0.0.7", 0x27a8528d44271838},
	} {
		if got := score(hashText(c.client), hashText(c.worker)); got != c.want {
			t.Errorf("score of %s for %s: %#x, want %#x", c.worker, c.client, got, c.want)
		}
	}
}
