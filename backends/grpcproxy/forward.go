package grpcproxy

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// bidi describes every call: both sides may stream, and only the peers know whether they do.
var bidi = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// forward carries one call. It owns both streams: the calling goroutine brings responses, another one requests.
func (p *Proxy) forward(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	r := p.table.find(method)
	if r == nil {
		return status.Errorf(codes.Unimplemented, "the gateway has no route for %s", method)
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if r.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	b := r.pick()
	b.started.Add(1)
	b.active.Add(1)
	defer b.active.Add(-1)
	answer := new(answerEncoding)
	out, err := p.open(context.WithValue(ctx, answerKey{}, answer), method, r, b)
	if err != nil {
		return err
	}
	go func() {
		if err := sendRequests(in, out); err != nil {
			cancel()
		}
	}()
	err = sendResponses(in, out, answer)
	in.SetTrailer(out.Trailer())
	return err
}

// open starts the call at the backend.
func (p *Proxy) open(ctx context.Context, method string, r *route, b *backend) (grpc.ClientStream, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	md = md.Copy()
	subtype := strings.TrimPrefix(strings.TrimPrefix(first(md["content-type"]), "application/grpc"), "+")
	bytesMax := p.bytesMax
	if r.MessageBytesMax > 0 {
		bytesMax = r.MessageBytesMax
	}
	options := []grpc.CallOption{
		grpc.CallContentSubtype(subtype),
		grpc.MaxCallSendMsgSize(int(bytesMax)),
		grpc.MaxCallRecvMsgSize(int(bytesMax)),
		grpc.CallAuthority(first(md[":authority"])),
	}
	if b.Authority != "" {
		options = append(options, grpc.CallAuthority(b.Authority))
	}
	if strings.Contains(strings.Join(md["grpc-accept-encoding"], ","), gzip.Name) {
		options = append(options, experimental.AcceptCompressors(gzip.Name))
	} else {
		options = append(options, experimental.AcceptCompressors())
	}
	if encodingOf(ctx) == gzip.Name {
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	if agent := md["user-agent"]; len(agent) > 0 {
		md["x-forwarded-user-agent"] = agent
	}
	// grpc writes these itself; forwarding them too would double them.
	for _, own := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
		delete(md, own)
	}
	out, err := b.conn.NewStream(metadata.NewOutgoingContext(ctx, md), bidi, method, options...)
	b.reached(err)
	if status.Code(err) == codes.Unavailable {
		return nil, status.Errorf(codes.Unavailable, "the gateway cannot reach backend %q", b.Name)
	}
	return out, err
}

// sendRequests ends with nil when the caller is done, or when the backend is: its status comes with the responses.
func sendRequests(in grpc.ServerStream, out grpc.ClientStream) error {
	for {
		var m message
		err := in.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			return out.CloseSend()
		}
		if err != nil {
			return err
		}
		if err := out.SendMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// sendResponses returns the call's status. No headers means that the backend sent trailers only: neither do we.
func sendResponses(in grpc.ServerStream, out grpc.ClientStream, answer *answerEncoding) error {
	header, err := out.Header()
	if err == nil && header != nil {
		name := encoding.Identity
		if answer.gzip.Load() {
			name = gzip.Name
		}
		if err := grpc.SetSendCompressor(in.Context(), name); err != nil {
			return status.Errorf(codes.Internal, "the backend answered in an encoding that the caller did not accept: %v", err)
		}
		delete(header, "content-type")
		if err := in.SendHeader(header); err != nil {
			return err
		}
	}
	for {
		var m message
		if err := out.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := in.SendMsg(&m); err != nil {
			return err
		}
	}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// encodings tells the forwarder which grpc-encoding each side uses: grpc shows it to stats handlers alone.
type encodings struct{}

type (
	requestKey struct{}
	answerKey  struct{}
	// answerEncoding is written when the backend's headers arrive, before they can be forwarded.
	answerEncoding struct{ gzip atomic.Bool }
)

func encodingOf(ctx context.Context) string {
	name, _ := ctx.Value(requestKey{}).(*string)
	if name == nil {
		return ""
	}
	return *name
}

func (encodings) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	if ctx.Value(requestKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, requestKey{}, new(string))
}

func (encodings) HandleRPC(ctx context.Context, event stats.RPCStats) {
	header, ok := event.(*stats.InHeader)
	if !ok {
		return
	}
	if answer, ok := ctx.Value(answerKey{}).(*answerEncoding); ok && header.Client {
		answer.gzip.Store(header.Compression == gzip.Name)
		return
	}
	if request, ok := ctx.Value(requestKey{}).(*string); ok && !header.Client {
		*request = header.Compression
	}
}

func (encodings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (encodings) HandleConn(context.Context, stats.ConnStats)                       {}
