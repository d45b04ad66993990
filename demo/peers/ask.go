package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "gateway/proto/demo/v1"
)

// askFunc asks one question and returns its answer, within callWait.
type askFunc func(context.Context, *demov1.HelloRequest) (*demov1.HelloReply, error)

// asker returns how to ask, and how to end: with a call for each question, or with one stream for all of them, which is
// opened when it is needed and lives no longer than ctx.
func asker(ctx context.Context, greeter demov1.GreeterClient, stream bool) (ask askFunc, end func() error) {
	if stream {
		s := &dialogue{ctx: ctx, greeter: greeter}
		return s.ask, s.end
	}
	return func(ctx context.Context, request *demov1.HelloRequest) (*demov1.HelloReply, error) {
		ctx, cancel := context.WithTimeout(ctx, callWait)
		defer cancel()
		return greeter.SayHello(ctx, request)
	}, func() error { return nil }
}

// dialogue is a bidirectional stream on which question and answer alternate.
type dialogue struct {
	ctx     context.Context // of the stream, which outlives a question
	greeter demov1.GreeterClient
	bidi    demov1.Greeter_SayHelloBidiStreamClient // nil while there is none
	cancel  context.CancelFunc
}

func (d *dialogue) ask(_ context.Context, request *demov1.HelloRequest) (*demov1.HelloReply, error) {
	if d.bidi == nil {
		ctx, cancel := context.WithCancel(d.ctx)
		bidi, err := d.greeter.SayHelloBidiStream(ctx)
		if err != nil {
			cancel()
			return nil, err
		}
		d.bidi, d.cancel = bidi, cancel
	}
	reply, err := d.within(callWait, func() (*demov1.HelloReply, error) {
		if err := d.bidi.Send(request); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return d.bidi.Recv() // also the reason, where Send said EOF
	})
	if err != nil {
		d.drop()
	}
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the server ended the stream")
	}
	return reply, err
}

// within cuts the stream when step takes longer than limit. A stream that was cut is of no further use, whatever step returned.
func (d *dialogue) within(limit time.Duration, step func() (*demov1.HelloReply, error)) (*demov1.HelloReply, error) {
	cut := time.AfterFunc(limit, d.cancel)
	reply, err := step()
	if !cut.Stop() {
		err = status.Errorf(codes.DeadlineExceeded, "no answer on the stream within %v", limit)
	}
	return reply, err
}

// end says that no more questions come, and waits for the server's end of the stream.
func (d *dialogue) end() error {
	if d.bidi == nil {
		return nil
	}
	defer d.drop()
	_, err := d.within(lingerWait, func() (*demov1.HelloReply, error) {
		if err := d.bidi.CloseSend(); err != nil {
			return nil, err
		}
		return d.bidi.Recv()
	})
	if err == nil {
		return errors.New("end the stream: an answer came that nobody had asked for")
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("end the stream: %w", err)
	}
	return nil
}

func (d *dialogue) drop() {
	d.cancel()
	d.bidi = nil
}
