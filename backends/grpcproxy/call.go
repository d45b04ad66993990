package grpcproxy

// A call: a stream of a caller, and a stream to a backend, or several one after the other.
//
// Rules of this file. call.mu guards a call and its halves; frames of one call are appended in the order in which they
// are decided because the lock is held meanwhile. The methods below are called with it held, and with a batch that the
// caller runs when it holds no lock any more. The life of a call:
//
//	start     the request's headers have come: find the route and the backend
//	dispatch  choose a connection and open a stream there, or wait for a connection
//	committed the backend has answered, or too much was sent to send it again: from now on the call stays there
//	settle    closes the halves when they have ended, the backend's first
//
// A response that is complete ends the call, even if the caller is still sending (RFC 9113 section 8.1).

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"gateway/internal/grpcwire"
)

type call struct {
	proxy   *Proxy
	route   *route
	backend *backend

	mu     sync.Mutex
	caller half
	server *half // at the backend; nil while there is none
	first  half  // the first server, so that most calls are one allocation

	replay    replay
	committed bool          // no other attempt
	answered  bool          // the caller has got, or will get, response headers
	attempts  int           // streams opened at the backend
	resent    int           // of these, by the route's retry policy
	pause     *time.Timer   // until the next of these
	avoid     *target       // where the last of these was, or who has refused the call
	hash      uint64        // for ring_hash
	code      codes.Code    // how the call ended
	since     time.Duration // on the proxy's clock
	span      Span          // nil: none
	copies    []*mirrored   // for mirrors
	passedOn  int           // bytes of the request that the caller has been given back
	refusal   *refusal
	wait      link          // in backend.waiting
	waitSince time.Duration // on the proxy's clock
	queued    bool          // has been in backend.waiting
	time      link          // in route.deadlines
	due       time.Duration // on the proxy's clock
	done      bool
}

// start is called once, when the caller's stream is there.
func (call *call) start(r request, fields []hpack.HeaderField, b *batch) {
	if refusal := refuse(r, call.caller.conn.misdirected); refusal != nil {
		call.refusal = refusal
		call.refuseAtEnd(b)
		return
	}
	if call.route == nil && r.path[0] == '/' { // or it names no method: RFC 9113 section 8.3.1
		call.route = call.proxy.table.Load().find(r.path, fields)
		if call.route != nil {
			call.trace(r.path, fields)
		}
	}
	if call.route == nil {
		call.turnAway(codes.Unimplemented, "the gateway has no route for "+r.path, b)
		return
	}
	call.since = call.proxy.now()
	call.route.counts.started.Inc()
	call.caller.conn.ledger.called(call.route)
	call.backend = call.route.pick()
	call.backend.started.Add(1)
	call.backend.active.Add(1)
	if problem, again := call.route.limits.enter(); problem != "" {
		call.failWith(codes.ResourceExhausted, problem, retryInfo(codes.ResourceExhausted, problem, again), b)
		return
	}
	call.hash = call.backend.hashOf(fields)
	fields = call.traced(call.route.edit(fields, r, call.backend))
	call.route.deadlines.add(call)
	call.replay.begin(fields, &call.proxy.budget)
	call.copy(fields)
	call.dispatch(fields, b)
}

// attemptsMax bounds how often a call is sent; a backend that refuses each time must not keep us busy.
const attemptsMax = 5

// dispatch opens a stream at the backend, or waits for a connection, or gives up.
func (call *call) dispatch(fields []hpack.HeaderField, b *batch) {
	for range attemptsMax {
		bc, hope := call.backend.choose(call.hash, call.avoid)
		if bc == nil && (hope || call.route.WaitForReady) {
			call.await(b)
			return
		}
		if bc == nil {
			break
		}
		if call.open(bc, fields, b) {
			return
		}
	}
	call.unreachable(b)
}

// unreachable ends a call for which there is no connection, and none is to be expected soon.
func (call *call) unreachable(b *batch) {
	if !call.tryAgain(codes.Unavailable, "") {
		call.fail(codes.Unavailable, fmt.Sprintf("the gateway cannot reach backend %q", call.backend.Name), b)
	}
}

// await lets the call wait for a connection.
func (call *call) await(b *batch) {
	if !call.backend.enqueue(call) {
		call.fail(codes.ResourceExhausted, fmt.Sprintf("too many calls wait for backend %q", call.backend.Name), b)
		return
	}
	if !call.queued {
		call.queued = true
		b.wake(call.backend) // a connection may have come meanwhile
	}
}

// open sends the request, as far as it has come, on a connection. It reports false if that has no room any more.
func (call *call) open(bc *backendConn, fields []hpack.HeaderField, b *batch) bool {
	s := &call.first
	if call.attempts > 0 {
		s, call.code = new(half), codes.OK // the attempt before may have ended with another
	}
	*s = half{call: call, conn: bc.conn, window: streamWindow, length: -1, uncredited: call.passedOn}
	body := call.replay.bodyBytes()
	end := call.caller.recvEnd && body == 0
	if !bc.attach(s, fields, end, b) {
		return false
	}
	bc.target.started.Add(1)
	call.attempts++
	call.server = s
	s.sentEnd = end
	sent := 0
	call.replay.eachBody(func(p []byte) {
		sent += len(p)
		s.sendData(p, call.caller.recvEnd && sent == body, b)
	})
	return true
}

// receiveData acts on DATA on either half. size includes padding.
func (call *call) receiveData(s *half, p []byte, size int, end bool, b *batch) error {
	if s.closed {
		return nil
	}
	if err := s.take(len(p), size, end); err != nil {
		return err
	}
	s.recvEnd = end
	s.credit(size-len(p), b)
	if call.exceeds(s, p, b) {
		return nil
	}
	if s == &call.caller {
		for _, m := range call.copies {
			m.requested(p)
		}
		call.request(p, end, b)
	} else {
		if !s.began {
			return malformed(s.id, "DATA before HEADERS")
		}
		for _, m := range call.copies {
			m.answered(p)
		}
		if end && call.code == codes.OK {
			call.code = codes.Unknown // the response ends without trailers
		}
		call.caller.sendData(p, end, b)
	}
	if call.proxy.budget.spent() && s.other() != nil && s.other().queue.len > 0 {
		call.cut(codes.ResourceExhausted, "the gateway's buffers are full", b)
	}
	call.settle(b)
	return nil
}

// exceeds counts messages, and ends the call when one is over the limit.
func (call *call) exceeds(s *half, p []byte, b *batch) bool {
	if call.route == nil {
		return false
	}
	begun, largest := s.meter.pass(p)
	if begun > 0 {
		count := call.route.counts.sent
		if s == &call.caller {
			count = call.route.counts.received
		}
		count.Add(float64(begun))
	}
	if largest > call.route.MessageBytesMax {
		call.fail(codes.ResourceExhausted, fmt.Sprintf("a message of %d bytes: the gateway's limit is %d", largest, call.route.MessageBytesMax), b)
		return true
	}
	return false
}

// request passes the caller's DATA on, and keeps it for another attempt.
func (call *call) request(p []byte, end bool, b *batch) {
	if call.refusal != nil {
		call.refuseAtEnd(b)
		return
	}
	kept := call.committed || call.replay.add(p, &call.proxy.budget)
	if call.server != nil {
		if !kept {
			call.commit()
		}
		call.server.sendData(p, end, b)
	} else if !kept {
		call.outgrow(b)
	}
}

// commit ends the possibility of another attempt.
func (call *call) commit() {
	call.committed = true
	call.replay.clear(&call.proxy.budget)
}

// receiveHeaders acts on a header block on an open stream: a response, or trailers of either side.
func (call *call) receiveHeaders(s *half, fields []hpack.HeaderField, end, tooLarge bool, b *batch) error {
	if s.closed {
		return nil
	}
	if s.recvEnd {
		return streamError{s.id, http2.ErrCodeStreamClosed, "HEADERS after END_STREAM"}
	}
	if tooLarge {
		call.fail(codes.ResourceExhausted, "header fields over the gateway's limit", b)
		return nil
	}
	if s == &call.caller || s.began {
		return call.receiveTrailers(s, fields, end, b)
	}
	r, err := parseResponse(fields)
	if err != nil {
		return malformed(s.id, err.Error())
	}
	if r.status < 200 { // section 8.1: any number of interim responses
		if end {
			return malformed(s.id, "an interim response with END_STREAM")
		}
		if s.interim++; s.interim > interimMax {
			return malformed(s.id, "too many interim responses")
		}
		call.caller.sendHeaders(fields, false, b)
		return nil
	}
	s.began, s.recvEnd, s.length = true, end, r.contentLength
	if end || r.status != 200 { // Trailers-Only, or no gRPC
		call.code = r.code()
		call.backend.judge(s, call.code)
		if call.refused(s, fields, b) {
			return nil
		}
	}
	for _, c := range call.copies {
		c.encoding, _ = valueOf(fields, "grpc-encoding")
	}
	call.commit()
	call.answered = true
	call.caller.sendHeaders(fields, end, b)
	call.settle(b)
	return nil
}

// refused reports whether a call that was answered without a message is tried again.
func (call *call) refused(s *half, fields []hpack.HeaderField, b *batch) bool {
	pushback, _ := valueOf(fields, "grpc-retry-pushback-ms")
	if !call.tryAgain(call.code, pushback) {
		return false
	}
	s.closeOrReset(b)
	b.wake(call.backend)
	return true
}

// receiveTrailers passes trailers on. A caller's wait with its DATA for the backend.
func (call *call) receiveTrailers(s *half, fields []hpack.HeaderField, end bool, b *batch) error {
	if !end {
		return malformed(s.id, "trailers without END_STREAM")
	}
	grpcStatus, err := checkTrailers(fields)
	if err != nil {
		return malformed(s.id, err.Error())
	}
	if s == call.server && call.code == codes.OK {
		call.code = parseCode(grpcStatus)
		call.backend.judge(s, call.code)
	}
	if s.length > 0 {
		return malformed(s.id, "content-length is not the length")
	}
	s.recvEnd = true
	if call.refusal != nil {
		call.refuseAtEnd(b)
		return nil
	}
	o := s.other()
	if o == nil { // no gRPC client sends trailers: they are not worth keeping until there is a connection
		call.fail(codes.Internal, "request trailers came before the backend was connected", b)
		return nil
	}
	if s == &call.caller {
		call.commit()
	}
	o.sendHeaders(fields, true, b)
	call.settle(b)
	return nil
}

// receiveReset passes RST_STREAM on, unless the backend has not seen the call.
func (call *call) receiveReset(s *half, code http2.ErrCode, b *batch) {
	if s.closed {
		return
	}
	s.close(b)
	if s == call.server && call.expired() {
		call.expire(b)
		return
	}
	if s == call.server && code == http2.ErrCodeRefusedStream { // section 8.7: not processed
		call.avoid = s.conn.role.(*backendConn).target
		call.lost(s, true, b)
		return
	}
	call.code = codes.Canceled
	if s == call.server {
		call.code = grpcwire.CodeOfReset(code)
		call.backend.judge(s, call.code)
		if call.tryAgain(call.code, "") {
			return
		}
	}
	if o := s.other(); o != nil {
		o.reset(code, b)
	}
	call.finish(b)
}

// peerFailed ends a call in which a peer broke the protocol on its stream.
func (call *call) peerFailed(s *half, e streamError, b *batch) {
	s.reset(e.code, b)
	if s == call.server {
		call.fail(codes.Internal, fmt.Sprintf("backend %q broke the protocol: %s", call.backend.Name, e.reason), b)
		return
	}
	if call.server != nil {
		call.server.reset(http2.ErrCodeCancel, b)
	}
	call.code = codes.Internal
	call.finish(b)
}

// lost acts on a backend's half that has ended without a response. unseen: the backend cannot have acted on the call.
func (call *call) lost(s *half, unseen bool, b *batch) {
	s.closed = true
	s.queue.clear(&call.proxy.budget)
	if call.done || s != call.server {
		return
	}
	if unseen && !call.committed && call.attempts < attemptsMax+call.resent {
		call.server = nil
		call.dispatch(countAttempts(call.replay.fields(), call.resent), b)
		return
	}
	call.backend.judge(s, codes.Unavailable)
	if call.tryAgain(codes.Unavailable, "") {
		return
	}
	call.server = nil
	problem := "the connection to backend %q was lost"
	if unseen {
		problem = "backend %q would not take the call"
	}
	call.fail(codes.Unavailable, fmt.Sprintf(problem, call.backend.Name), b)
}

// abandon ends a call whose caller is gone.
func (call *call) abandon(b *batch) {
	call.caller.closed = true
	call.caller.queue.clear(&call.proxy.budget)
	if call.server != nil {
		call.server.reset(http2.ErrCodeCancel, b)
	}
	call.code = codes.Canceled
	call.finish(b)
}

// settle closes halves that have ended.
func (call *call) settle(b *batch) {
	if s := call.server; s != nil && !s.closed && s.recvEnd {
		s.closeOrReset(b)
		b.wake(call.backend)
	}
	c := &call.caller
	if !c.sentEnd || call.done {
		return
	}
	if s := call.server; s != nil {
		s.reset(http2.ErrCodeCancel, b)
	}
	if c.recvEnd {
		c.close(b)
	} else {
		c.reset(http2.ErrCodeNo, b) // section 8.1: the rest of the request is not wanted
	}
	call.finish(b)
}

// finish is the end: what the call held is given back.
func (call *call) finish(b *batch) {
	if call.done {
		return
	}
	call.done = true
	call.replay.clear(&call.proxy.budget)
	if call.backend == nil { // it was never let in
		return
	}
	if call.pause != nil {
		call.pause.Stop() // or it runs, and finds the call done
	}
	if call.resent > 0 {
		call.route.retries.open.Add(-1)
	}
	if call.span != nil {
		call.span.End(call.route.Pattern, call.backend.Name, call.attempts, call.code)
	}
	call.route.counts.ended(call.code, call.proxy.now()-call.since)
	call.route.limits.leave()
	call.mirror()
	call.route.deadlines.remove(call)
	call.backend.leave(call)
	call.backend.active.Add(-1)
	b.wake(call.backend)
}
