package pair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gateway/backends/pair/agent"
	"gateway/internal/zmtp"
)

// enlist asks an agent's slot who it is and brings it into the room.
func (r *Rendezvous) enlist(w *worker) {
	leave := r.gating.enter(w.conn)
	stop := context.AfterFunc(r.stopping, func() { w.conn.Close() })
	hello, err := r.interview(w)
	stop()
	if leave() {
		failed := r.expelled()
		w.finish(Outcome{End: failed.end, Err: failed.err})
		return
	}
	if err != nil {
		end := AgentDenied
		if isGone(err) {
			end = Left
		}
		w.finish(Outcome{End: end, Err: err})
		return
	}
	w.name, w.slots = hello.Name, hello.Slots
	if r.gated() {
		w.mechanism = zmtp.Mechanism(hello.Mechanism)
	}
	r.report(w, hello.Load)
	r.place(w)
}

// interview does the agent protocol up to the silence.
func (r *Rendezvous) interview(w *worker) (agent.Hello, error) {
	_ = w.conn.SetDeadline(time.Now().Add(r.options.HandshakeTimeout))
	conn := &replayed{Conn: w.conn, ahead: w.tap.take()}
	hello, err := agent.Interview(conn, r.options.Token)
	if err == nil && r.gated() && !slices.Contains(r.options.Mechanisms, zmtp.Mechanism(hello.Mechanism)) {
		err = fmt.Errorf("pair: the worker of agent %q speaks %s: only %v here", hello.Name, hello.Mechanism, r.options.Mechanisms)
	}
	if err == nil && len(conn.ahead) > 0 {
		err = errors.New("pair: an agent that does not wait for GO")
	}
	if err != nil {
		agent.Deny(conn, err)
	}
	_ = w.conn.SetDeadline(time.Time{})
	return hello, err
}

// report takes an agent's word for how many clients it serves, those of other gateways included.
func (r *Rendezvous) report(w *worker, load int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[w.mechanism]
	id := room.know(w.name)
	id.elsewhere = max(0, load-id.busy)
	room.fix(id)
}

// errHangs is why the slots of an agent are closed that did not answer on one of them.
var errHangs = errors.New("pair: its agent does not answer")

// dismiss ends the free slots of an agent that hangs: each of them would cost a client as long a wait. One that lives comes back.
func (r *Rendezvous) dismiss(room *room, id *identity) {
	r.mu.Lock()
	var slots []*worker
	for e := id.free.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*worker); w.agent {
			slots = append(slots, w)
		}
	}
	for _, w := range slots {
		room.withdraw(w)
	}
	r.show()
	r.mu.Unlock()
	for _, w := range slots {
		w.tap.close()
		w.finish(Outcome{End: AgentBusy, Err: errHangs})
	}
}

// summon tells an agent's slot to dial its worker.
func (w *worker) summon(client string) error {
	if len(w.tap.kept) > 0 {
		return errors.New("pair: an agent that does not wait for GO")
	}
	_ = w.conn.SetDeadline(time.Now().Add(summonTimeout))
	if err := agent.Summon(w.conn, client); err != nil {
		return fmt.Errorf("pair: agent %q: %w", w.name, err)
	}
	return w.conn.SetDeadline(time.Time{})
}
