package grpcproxy

// Mirrors: copies of calls that another backend gets too, and whose answers are compared with the real ones.
//
// Rules of this file. A real call is never held up: it is recorded while it passes (the call's lock guards a mirrored), and
// handed over when it has ended, to a queue that drops when it is full. What is recorded counts in the proxy's buffers; once
// these are half used, nothing more is. Each mirror has mirrorWorkers goroutines, so a backend that hangs costs no more than
// these. A call that was cut, that has several requests, or that is too large, is not copied.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

const (
	mirrorWorkers  = 8
	mirrorQueueMax = 1000
	// mirrorBytesMax bounds a request, and a response, that is copied or compared.
	mirrorBytesMax = 1 << 20
	// mirrorWait is how long a copy may take.
	mirrorWait = 10 * time.Second
	samplesMax = 10
)

// MirrorStatus is what a mirror has done.
type MirrorStatus struct {
	Route      string   `json:"route"`
	Backend    string   `json:"backend"`
	Matches    int64    `json:"matches"`
	Mismatches int64    `json:"mismatches"`
	Uncompared int64    `json:"uncompared"` // answered, and not to be compared, or not comparable
	Failed     int64    `json:"failed"`     // not answered
	Dropped    int64    `json:"dropped"`    // not sent
	Samples    []Sample `json:"samples,omitempty"`
}

// Sample is the first difference between two answers.
type Sample struct {
	Method   string `json:"method"`
	Field    string `json:"field"`    // a path; "grpc-status", "message count" or "bytes" where it is no field
	Answered string `json:"answered"` // what the caller got
	Mirrored string `json:"mirrored"`
}

// verdict is how a copy ended.
type verdict int

const (
	matched verdict = iota
	mismatched
	uncompared
	failed
	dropped
	verdictsMax
)

var verdictWords = [verdictsMax]string{"match", "mismatch", "uncompared", "failed", "dropped"}

// mirror is a Mirror made ready.
type mirror struct {
	Mirror
	route   *route
	backend *backend
	share   uint64 // of 2^64
	turn    atomic.Uint64
	types   types
	jobs    chan *mirrored
	counts  [verdictsMax]atomic.Int64
	ended   atomic.Bool // its workers end, or have ended

	mu      sync.Mutex
	samples []Sample
	cancel  context.CancelFunc // nil: it does not run
}

func newMirror(p *Proxy, r *route, o Mirror, backends map[string]*backend) (*mirror, error) {
	m := &mirror{Mirror: o, route: r, backend: backends[o.Backend], jobs: make(chan *mirrored, mirrorQueueMax), share: 1<<64 - 1}
	if m.backend == nil {
		return nil, fmt.Errorf("there is no such backend")
	}
	switch o.Compare {
	case "", "bytes":
	case "proto":
		if err := m.types.init(o.Descriptors); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("there is no comparison %q: bytes or proto", o.Compare)
	}
	if o.Percent > 0 && o.Percent < 100 {
		m.share = uint64(o.Percent / 100 * (1 << 64))
	}
	m.Samples = min(o.Samples, samplesMax)
	return m, nil
}

func (r *route) beginMirrors() {
	for _, m := range r.mirrors {
		ctx, cancel := context.WithCancel(m.backend.proxy.ctx)
		m.mu.Lock()
		m.cancel = cancel
		m.mu.Unlock()
		for range mirrorWorkers {
			m.backend.proxy.start(func() { m.work(ctx) })
		}
	}
}

func (r *route) endMirrors() {
	for _, m := range r.mirrors {
		m.ended.Store(true)
		m.mu.Lock()
		if m.cancel != nil {
			m.cancel()
		}
		m.mu.Unlock()
	}
}

// work sends copies until ctx ends; then it throws away what is queued.
func (m *mirror) work(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case job := <-m.jobs:
			m.count(m.run(ctx, job))
		case <-ctx.Done():
		}
	}
	m.dropQueued()
}

// offer hands a copy over to the workers. A call may outlive its mirror, and these.
func (m *mirror) offer(c *mirrored) {
	select {
	case m.jobs <- c:
	default:
		m.drop(c)
	}
	if m.ended.Load() {
		m.dropQueued()
	}
}

func (m *mirror) dropQueued() {
	for {
		select {
		case job := <-m.jobs:
			m.drop(job)
		default:
			return
		}
	}
}

func (m *mirror) drop(c *mirrored) {
	c.forget()
	m.count(dropped)
}

func (m *mirror) count(v verdict) {
	m.counts[v].Add(1)
	c := &m.route.counts
	m.backend.proxy.metrics.GRPC.Mirrored.WithLabelValues(c.service, c.method, m.Backend, verdictWords[v]).Inc()
}

func (m *mirror) status() MirrorStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return MirrorStatus{
		Route: m.route.Pattern, Backend: m.Backend, Samples: append([]Sample(nil), m.samples...),
		Matches: m.counts[matched].Load(), Mismatches: m.counts[mismatched].Load(), Uncompared: m.counts[uncompared].Load(),
		Failed: m.counts[failed].Load(), Dropped: m.counts[dropped].Load(),
	}
}

// sample keeps a difference, if it is wanted.
func (m *mirror) sample(s Sample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) < m.Samples {
		m.samples = append(m.samples, s)
	}
}

// mirrored is a call as it was recorded.
type mirrored struct {
	mirror            *mirror
	server            *backend // that answers the caller
	fields            []hpack.HeaderField
	request, response queue
	requests          meter
	messages          int // requests begun
	encoding          string
	spoilt            bool // not to be copied
	long              bool // the response is too large to be compared
	code              codes.Code
}

// copy begins to record the call for the mirrors whose turn it is.
func (call *call) copy(fields []hpack.HeaderField) {
	for _, m := range call.route.mirrors {
		if m.turn.Add(weyl) > m.share {
			continue
		}
		call.copies = append(call.copies, &mirrored{mirror: m, server: call.backend, fields: append([]hpack.HeaderField(nil), fields...)})
	}
}

func (c *mirrored) budget() *budget { return &c.mirror.backend.proxy.budget }

// requested records a piece of the request.
func (c *mirrored) requested(p []byte) {
	begun, _ := c.requests.pass(p)
	c.messages += begun
	if c.spoilt = c.spoilt || c.messages > 1 || !c.record(&c.request, p); c.spoilt {
		c.forget()
	}
}

// answered records a piece of the response.
func (c *mirrored) answered(p []byte) {
	if c.spoilt || c.long {
		return
	}
	if !c.record(&c.response, p) {
		c.long = true
		c.response.clear(c.budget())
	}
}

// record reports false when the copy has become too large.
func (c *mirrored) record(q *queue, p []byte) bool {
	if q.len+len(p) > mirrorBytesMax || c.budget().tight() > budgetTight {
		return false
	}
	q.push(p, c.budget())
	return true
}

// forget gives the memory back.
func (c *mirrored) forget() {
	c.request.clear(c.budget())
	c.response.clear(c.budget())
}

// mirror hands the copies over when the call has ended. The call's lock is held.
func (call *call) mirror() {
	for _, c := range call.copies {
		c.code = call.code
		whole := call.caller.recvEnd && call.server != nil && call.server.recvEnd
		if c.spoilt || !whole {
			c.mirror.drop(c)
		} else {
			c.mirror.offer(c)
		}
	}
	call.copies = nil
}

func (q *queue) bytes() []byte {
	var all bytes.Buffer
	q.each(0, func(p []byte) { all.Write(p) })
	return all.Bytes()
}

// run sends the copy and compares the answer.
func (m *mirror) run(ctx context.Context, c *mirrored) verdict {
	defer c.forget()
	ctx, cancel := context.WithTimeout(ctx, mirrorWait)
	defer cancel()
	theirs, err := m.send(ctx, c)
	if err != nil {
		return failed
	}
	if m.Compare == "" || c.long {
		return uncompared
	}
	ours := reply{code: c.code, body: c.response.bytes(), encoding: c.encoding}
	return m.compare(ctx, c, ours, theirs)
}

// send makes the call at the mirror's backend. A response that goes on past mirrorBytesMax is cut.
func (m *mirror) send(ctx context.Context, c *mirrored) (reply, error) {
	r := (&http.Request{
		Method: http.MethodPost, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(c.request.bytes())), ContentLength: -1,
		URL: &url.URL{Scheme: "http", Host: "mirror"},
	}).WithContext(ctx)
	for _, f := range c.fields {
		switch {
		case f.Name == ":path":
			r.URL.Opaque = f.Value
		case f.Name == ":authority":
			r.Host = f.Value
		case f.Name[0] != ':' && f.Name != "grpc-timeout" && f.Name != "content-length":
			r.Header[f.Name] = append(r.Header[f.Name], f.Value)
		}
	}
	response, err := m.backend.transport().RoundTrip(r)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }() // what is left is not wanted
	body, err := io.ReadAll(io.LimitReader(response.Body, mirrorBytesMax+1))
	if err != nil {
		return reply{}, err
	}
	if response.Header.Get(engineAnswered) != "" || response.Trailer.Get(engineAnswered) != "" {
		return reply{}, errors.New("the mirror has not answered")
	}
	a := reply{body: body, encoding: response.Header.Get("grpc-encoding"), long: len(body) > mirrorBytesMax}
	status := response.Trailer.Get("grpc-status")
	if status == "" {
		status = response.Header.Get("grpc-status")
	}
	if !a.long {
		a.code = parseCode(status)
	}
	return a, nil
}
