package grpcproxy

// What the gateway answers itself.

import (
	"fmt"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"gateway/internal/grpcwire"
)

// fail answers the caller with a status of the gateway's own: Trailers-Only, or trailers where headers were sent.
func (call *call) fail(code codes.Code, message string, b *batch) {
	call.failWith(code, message, nil, b)
}

// turnAway is fail for a call that has no route.
func (call *call) turnAway(code codes.Code, message string, b *batch) {
	call.proxy.unrouted.started.Inc()
	call.proxy.unrouted.ended(code, 0)
	call.fail(code, message, b)
}

// failWith is fail with more trailers.
func (call *call) failWith(code codes.Code, message string, more []hpack.HeaderField, b *batch) {
	if call.done || call.caller.sentEnd || call.caller.end {
		return
	}
	if call.server != nil {
		call.server.reset(http2.ErrCodeCancel, b)
	}
	call.code = code
	fields := make([]hpack.HeaderField, 0, 5)
	if !call.answered {
		fields = append(fields,
			hpack.HeaderField{Name: ":status", Value: "200"},
			hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
	}
	fields = append(fields,
		hpack.HeaderField{Name: "grpc-status", Value: strconv.Itoa(int(code))},
		hpack.HeaderField{Name: "grpc-message", Value: grpcwire.EncodeMessage(message)})
	fields = append(fields, more...)
	if call.route != nil && call.route.marks {
		fields = append(fields, hpack.HeaderField{Name: engineAnswered, Value: "1"})
	}
	call.answered = true
	call.caller.sendHeaders(fields, true, b)
	call.settle(b)
}

// cut ends a call at once, also when its caller does not read: then what is queued is dropped, and trailers after a part
// of a message would tell nothing, so the stream is reset. gRPC clients read ENHANCE_YOUR_CALM as RESOURCE_EXHAUSTED.
func (call *call) cut(code codes.Code, message string, b *batch) {
	c := &call.caller
	if call.done || c.queue.len == 0 {
		call.fail(code, message, b)
		return
	}
	reason := http2.ErrCodeCancel
	if code == codes.ResourceExhausted {
		reason = http2.ErrCodeEnhanceYourCalm
	}
	c.reset(reason, b)
	call.code = code
	if call.server != nil {
		call.server.reset(http2.ErrCodeCancel, b)
	}
	call.finish(b)
}

// refusal is an HTTP answer to what is no gRPC call.
type refusal struct {
	status int
	text   string
	atOnce bool // it may be a call that goes on until it is answered
}

// refuse returns nil for a gRPC call that came to the right connection.
func refuse(r request, misdirected func(authority string) bool) *refusal {
	switch {
	case misdirected != nil && misdirected(r.authority): // RFC 9113 section 9.1.2
		return &refusal{421, fmt.Sprintf("This connection was opened for another name than %q. Open one for it.\n", r.authority), true}
	case !r.isGRPC():
		return &refusal{415, fmt.Sprintf("This port speaks gRPC: content-type application/grpc, not %q.\n", r.contentType), false}
	case r.method != "POST":
		return &refusal{405, fmt.Sprintf("A gRPC call is a POST, not a %s.\n", r.method), false}
	}
	return nil
}

// refusedBytesMax is how much of a refused request's body is read before it is answered: HTTP clients like to finish.
const refusedBytesMax = streamWindow / 4

// refuseAtEnd answers when the request has ended, or has gone on for too long.
func (call *call) refuseAtEnd(b *batch) {
	c := &call.caller
	if call.answered || !call.refusal.atOnce && !c.recvEnd && c.window > streamWindow-refusedBytesMax {
		return
	}
	call.answered = true
	call.caller.sendHeaders([]hpack.HeaderField{
		{Name: ":status", Value: strconv.Itoa(call.refusal.status)},
		{Name: "content-type", Value: "text/plain; charset=utf-8"},
		{Name: "content-length", Value: strconv.Itoa(len(call.refusal.text))},
	}, false, b)
	call.caller.sendData([]byte(call.refusal.text), true, b)
	call.settle(b)
}
