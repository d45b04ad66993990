package grpcproxy

import (
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
	xrate "golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// crowdedFor is when a caller is told to come again where too many calls are in flight.
const crowdedFor = 100 * time.Millisecond

// limits are what a route bounds.
type limits struct {
	rate    *xrate.Limiter // nil: no bound
	openMax int64          // 0: no bound
	open    atomic.Int64
}

func (l *limits) init(r Route) {
	if r.CallsPerSecond > 0 {
		l.rate = xrate.NewLimiter(xrate.Limit(r.CallsPerSecond), r.CallsPerSecond)
	}
	l.openMax = int64(r.ConcurrentMax)
}

// enter counts a call. Where it is one too many, it says why, and when to come again; leave is to be called all the same.
func (l *limits) enter() (problem string, again time.Duration) {
	if open := l.open.Add(1); l.openMax > 0 && open > l.openMax {
		return fmt.Sprintf("%d calls are in flight, as many as the gateway allows on this route", l.openMax), crowdedFor
	}
	if l.rate != nil && !l.rate.Allow() {
		perSecond := float64(l.rate.Limit())
		return fmt.Sprintf("the gateway allows %.0f calls a second on this route", perSecond), time.Duration(float64(time.Second) / perSecond)
	}
	return "", 0
}

func (l *limits) leave() { l.open.Add(-1) }

// retryInfo is the status's details (google.rpc.RetryInfo) as a field.
func retryInfo(code codes.Code, message string, again time.Duration) []hpack.HeaderField {
	s, err := status.New(code, message).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(again)})
	if err != nil {
		return nil // cannot be: the code is not OK
	}
	details, err := proto.Marshal(s.Proto())
	if err != nil {
		return nil // cannot be: the message is our own, and valid
	}
	return []hpack.HeaderField{{Name: "grpc-status-details-bin", Value: base64.RawStdEncoding.EncodeToString(details)}}
}
