package bridge

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"gateway/internal/zmtp"
	gatewayv1 "gateway/proto/gateway/v1"
)

// rawPair is the codec of gateway.v1.Bridge.
var rawPair = &codecPair{codec{payload: Envelope}, codec{payload: Envelope}}

// generic returns what carries a method of gateway.v1.Bridge; nil for any other method.
func (b *Backend) generic(method string) func(call) error {
	if !strings.HasPrefix(method, "/"+gatewayv1.Bridge_ServiceDesc.ServiceName+"/") {
		return nil
	}
	socket := b.options.Socket
	switch {
	case method == gatewayv1.Bridge_Request_FullMethodName && socket == zmtp.REQ:
		return b.request
	case method == gatewayv1.Bridge_Request_FullMethodName && socket == zmtp.DEALER:
		return b.deal
	case method == gatewayv1.Bridge_Push_FullMethodName && socket == zmtp.PUSH:
		return b.pushSummed
	case method == gatewayv1.Bridge_Subscribe_FullMethodName && socket == zmtp.SUB:
		return b.subscribeTopics
	case method == gatewayv1.Bridge_Exchange_FullMethodName && socket == zmtp.DEALER:
		return b.exchange
	}
	return func(call) error {
		return status.Errorf(codes.Unimplemented, "backend %q is reached by a %s, which cannot do %s", b.options.Name, socket, method)
	}
}

func (b *Backend) pushSummed(c call) error {
	pushed, err := b.pushAll(c)
	if err != nil {
		return err
	}
	data, err := proto.Marshal(&gatewayv1.PushSummary{Messages: pushed})
	if err != nil {
		return err
	}
	return c.Send(data)
}

func (b *Backend) subscribeTopics(c call) error {
	data, err := c.Recv()
	if err != nil {
		return err
	}
	var request gatewayv1.SubscribeRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		return status.Errorf(codes.InvalidArgument, "not a SubscribeRequest: %v", err)
	}
	if len(request.Topics) == 0 || len(request.Topics) > topicsMax {
		return status.Errorf(codes.InvalidArgument, "%d topics: name 1 to %d; an empty one means everything", len(request.Topics), topicsMax)
	}
	return b.feed(c, request.Topics)
}

// exchange gives a caller a DEALER of its own, frames as they are, until it cancels or all connections end.
func (b *Backend) exchange(c call) error {
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	o := b.socketOptions()
	o.Changed = func(l *zmtp.Link, up bool, err error) {
		if !up {
			cancel(c.lostError(b, l)) // nobody could say which answers were lost
		}
	}
	socket, err := zmtp.NewSocket(o)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	defer func() { _ = socket.Close(ctx) }() // the call is over: nobody waits for what was not sent
	for _, endpoint := range b.options.Endpoints {
		if err := socket.Connect(endpoint); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
	if err := socket.Ready(ctx); err != nil {
		return b.sendError(ctx, err)
	}
	go func() {
		for {
			m := &zmtp.Message{}
			err := c.receive(m)
			if errors.Is(err, io.EOF) {
				return // the caller only listens from here on
			}
			if err == nil {
				if err = socket.Send(ctx, m); err != nil {
					err = b.sendError(ctx, err)
				}
			}
			if err != nil {
				cancel(err)
				return
			}
		}
	}()
	for m := (&zmtp.Message{}); ; {
		if err := socket.Recv(ctx, m); err != nil {
			if cause := context.Cause(ctx); cause != nil && c.Context().Err() == nil {
				return cause
			}
			return b.sendError(c.Context(), err)
		}
		if ended, err := c.reply(m, 0); ended {
			return err
		}
	}
}
