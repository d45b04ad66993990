package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gateway/internal/zmtp"
)

// retiredFor is how long an upstream that a plan no longer names may still answer.
const retiredFor = 30 * time.Second

// Upstream is a ZeroMQ service that messages are forwarded to.
type Upstream struct {
	// Name is the backend's.
	Name string
	// Endpoints are where its program binds: "tcp://host:port", "ipc:///path".
	Endpoints []string
	// Security is the gateway's part towards it. nil: NULL.
	Security zmtp.Security
	// Weight is its share of the messages. If all are 0, the shares are equal. SUB takes from all of them.
	Weight int
	// QueueMessagesMax is the high-water mark. 0: 1000.
	QueueMessagesMax int
}

// forwarder carries messages between a block's clients and ZeroMQ services, unchanged but for the client's routing id,
// which is stacked before a request and taken off the reply, as zmq_proxy does between a ROUTER and a DEALER.
//
// Rules: a client's reader sends to an upstream and waits for room there, or until a new plan chooses anew; an upstream's
// reader sends to clients and waits for nobody: what a client has no room for is dropped, as a ROUTER does.
type forwarder struct {
	inlet *Inlet
	front *zmtp.Socket
	kind  zmtp.SocketType // of the sockets to upstreams
	bytes int             // the largest message

	lifetime context.Context
	end      context.CancelFunc
	retiring sync.WaitGroup
	choice   atomic.Pointer[choice]
	turn     atomic.Uint64

	mu        sync.Mutex
	upstreams map[string]*upstream
	topics    map[string]bool // what subscribers want of upstreams
}

type upstream struct {
	Upstream
	socket *zmtp.Socket
}

// choice is which upstreams to take by weight.
type choice struct {
	upstreams []*upstream
	ends      []uint64        // running sum of the weights; the last is the total
	holds     context.Context // until another choice takes its place, or the forwarder ends
	replace   context.CancelFunc
}

func newForwarder(i *Inlet, p *Plan) (*forwarder, error) {
	f := &forwarder{inlet: i, bytes: p.MessageBytesMax, upstreams: map[string]*upstream{}, topics: map[string]bool{}}
	f.lifetime, f.end = context.WithCancel(context.Background())
	o := zmtp.SocketOptions{
		Options:          zmtp.Options{SocketType: i.options.Socket, MessageBytesMax: p.MessageBytesMax},
		QueueMessagesMax: p.QueueMessagesMax,
		QueueBytesMax:    max(queueBytesMin, 2*p.MessageBytesMax),
	}
	switch i.options.Socket {
	case zmtp.REP:
		o.SocketType = zmtp.ROUTER // an envelope passes as it is
		f.kind = zmtp.DEALER
	case zmtp.ROUTER:
		f.kind = zmtp.DEALER
	case zmtp.PULL:
		f.kind = zmtp.PUSH
	case zmtp.PUB:
		f.kind = zmtp.SUB
		o.Subscribed = f.subscribed
	}
	var err error
	f.front, err = zmtp.NewSocket(o)
	return f, err
}

// setUpstreams makes these the ones to forward to. Those that stay as they were keep their connections.
func (f *forwarder) setUpstreams(wanted []Upstream) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := map[string]*upstream{}
	for _, w := range wanted {
		settings := w
		if have := f.upstreams[w.Name]; have != nil {
			settings.Weight = have.Weight
			if reflect.DeepEqual(settings, have.Upstream) {
				next[w.Name] = &upstream{w, have.socket}
				continue
			}
		}
		u, err := f.connect(w)
		if err != nil {
			f.retire(next, f.upstreams)
			return fmt.Errorf("backend %q: %w", w.Name, err)
		}
		next[w.Name] = u
	}
	chosen := choose(next, wanted)
	chosen.holds, chosen.replace = context.WithCancel(f.lifetime)
	if old := f.choice.Swap(chosen); old != nil {
		old.replace()
	}
	f.retire(f.upstreams, next)
	f.upstreams = next
	return nil
}

// retire closes, after a while, those of old that are not in use.
func (f *forwarder) retire(old, use map[string]*upstream) {
	for name, u := range old {
		if now := use[name]; now == nil || now.socket != u.socket {
			f.retiring.Go(func() {
				pause(f.lifetime, retiredFor)
				_ = u.socket.Close(f.lifetime) // what was not sent by now is lost
			})
		}
	}
}

func choose(have map[string]*upstream, order []Upstream) *choice {
	c := &choice{}
	weightless := !slices.ContainsFunc(order, func(u Upstream) bool { return u.Weight > 0 })
	var end uint64
	for _, u := range order {
		end += uint64(max(u.Weight, 0))
		if weightless {
			end++
		}
		c.upstreams, c.ends = append(c.upstreams, have[u.Name]), append(c.ends, end)
	}
	return c
}

// weyl is 2^64 divided by the golden ratio: its multiples, modulo 2^64, fall evenly into any partition.
const weyl = 0x9E3779B97F4A7C15

func (f *forwarder) pick(c *choice) *upstream {
	at, _ := bits.Mul64(f.turn.Add(weyl), c.ends[len(c.ends)-1])
	for i, end := range c.ends {
		if at < end {
			return c.upstreams[i]
		}
	}
	return c.upstreams[len(c.upstreams)-1]
}

// connect makes the socket to an upstream. f.mu is held.
func (f *forwarder) connect(w Upstream) (*upstream, error) {
	s, err := zmtp.NewSocket(zmtp.SocketOptions{
		Options:          zmtp.Options{SocketType: f.kind, Security: w.Security, MessageBytesMax: f.bytes},
		QueueMessagesMax: w.QueueMessagesMax,
		Receive:          f.back,
	})
	if err != nil {
		return nil, err
	}
	for topic := range f.topics {
		if err := s.Subscribe([]byte(topic)); err != nil {
			return nil, err
		}
	}
	for _, endpoint := range w.Endpoints {
		if err := s.Connect(endpoint); err != nil {
			_ = s.Close(f.lifetime) // nothing was sent
			return nil, err
		}
	}
	return &upstream{w, s}, nil
}

// serve makes a client's messages go upstream until it leaves.
func (f *forwarder) serve(conn *zmtp.Conn, client *Source) Outcome {
	var received int64
	pass := f.passUnchanged
	if f.kind == zmtp.DEALER {
		pass = f.passNamed
	}
	var link *zmtp.Link // nil until a message has come
	err := f.front.AttachFunc(conn, func(from *zmtp.Link, m *zmtp.Message) {
		link = from
		received++
		f.inlet.counts.in.Inc()
		client.Spoke()
		if pass(from, m) != nil {
			f.inlet.counts.drop("stopping")
		}
	})
	return outcomeOf(link, received, err)
}

// send gives m to an upstream. What waits for one when a new plan comes goes by that.
func (f *forwarder) send(m *zmtp.Message) error {
	for {
		c := f.choice.Load()
		err := f.pick(c).socket.Send(c.holds, m)
		if err == nil || c.holds.Err() == nil || f.lifetime.Err() != nil {
			return err
		}
	}
}

func (f *forwarder) passUnchanged(_ *zmtp.Link, m *zmtp.Message) error { return f.send(m) }

func (f *forwarder) passNamed(from *zmtp.Link, m *zmtp.Message) error {
	named := zmtp.NewMessage(from.Name())
	for i := range m.Len() {
		named.Append(m.Part(i))
	}
	return f.send(named)
}

// back takes what an upstream sends: a reply behind its client's name, or what was published.
func (f *forwarder) back(_ *zmtp.Link, m *zmtp.Message) {
	switch err := f.front.TrySend(m); {
	case err == nil:
		f.inlet.counts.out.Inc()
	case errors.Is(err, zmtp.ErrUnroutable):
		f.inlet.counts.drop("client gone")
	default:
		f.inlet.counts.drop("slow client")
	}
}

// subscribed passes on what subscribers want. It is called with the front's lock held.
func (f *forwarder) subscribed(topic []byte, wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wanted {
		f.topics[string(topic)] = true
	} else {
		delete(f.topics, string(topic))
	}
	for _, u := range f.upstreams {
		tell := u.socket.Subscribe
		if !wanted {
			tell = u.socket.Cancel
		}
		_ = tell(topic) // fails only when closed
	}
}

func (f *forwarder) status() (all []UpstreamStatus) {
	for _, u := range f.choice.Load().upstreams {
		s := u.socket.Status()
		all = append(all, UpstreamStatus{u.Name, s.Peers, s.Sent})
	}
	return all
}

// shutdown flushes what is queued on either side, until ctx ends. It returns how many clients were cut short.
func (f *forwarder) shutdown(ctx context.Context) (cut int) {
	if err := f.front.Close(ctx); err != nil {
		cut = 1
	}
	f.mu.Lock()
	upstreams := slices.Collect(maps.Values(f.upstreams))
	f.mu.Unlock()
	for _, u := range upstreams {
		_ = u.socket.Close(ctx) // what was not sent by now is lost
	}
	f.end()
	f.retiring.Wait()
	return cut
}

// outcomeOf says how a client's connection ended. l may be nil.
func outcomeOf(l *zmtp.Link, received int64, err error) Outcome {
	o := Outcome{Messages: received, Result: "client left"}
	if l != nil {
		o.BytesIn, o.BytesOut = l.Traffic()
	}
	switch {
	case err == io.EOF:
	case errors.Is(err, zmtp.ErrClosed):
		o.Result = "closed"
	case errors.Is(err, zmtp.ErrNameTaken):
		o.Result, o.Err = "name taken", err
	default:
		o.Result, o.Err = "failed", err
	}
	return o
}
