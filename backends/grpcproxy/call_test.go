package grpcproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// service is a backend whose two methods a test writes in place.
type service struct {
	testgrpc.UnimplementedTestServiceServer
	unary func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error)
	bidi  func(testgrpc.TestService_FullDuplexCallServer) error
}

func (s service) UnaryCall(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return s.unary(ctx, r)
}

func (s service) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	return s.bidi(stream)
}

// named answers every unary call with its name.
func named(name string) service {
	return service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		return &testgrpc.SimpleResponse{ServerId: name}, nil
	}}
}

// through starts the service behind a proxy and returns a client of the proxy.
func through(t *testing.T, s service) testgrpc.TestServiceClient {
	t.Helper()
	return testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(startService(t, s)))))
}

func TestMetadataArrivesAsSent(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	client := through(t, service{unary: func(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		_ = grpc.SetHeader(ctx, metadata.Pairs("head", "h1", "head", "h2", "head-bin", "\x00\xff"))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("tail", "t1", "tail", "t2", "tail-bin", "\x01\xfe"))
		return &testgrpc.SimpleResponse{}, nil
	}})
	var header, trailer metadata.MD
	ctx := metadata.AppendToOutgoingContext(testContext(t), "key", "1", "other", "x", "key", "2", "key-bin", "\x00\x80,")
	if _, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{}, grpc.Header(&header), grpc.Trailer(&trailer),
		grpc.CallAuthority("shop.example")); err != nil {
		t.Fatal(err)
	}
	md := <-seen
	for _, check := range []struct {
		md   metadata.MD
		key  string
		want []string
	}{
		{md, "key", []string{"1", "2"}}, {md, "other", []string{"x"}}, {md, "key-bin", []string{"\x00\x80,"}},
		{md, ":authority", []string{"shop.example"}}, {md, "content-type", []string{"application/grpc"}},
		{header, "head", []string{"h1", "h2"}}, {header, "head-bin", []string{"\x00\xff"}},
		{trailer, "tail", []string{"t1", "t2"}}, {trailer, "tail-bin", []string{"\x01\xfe"}},
	} {
		if got := check.md.Get(check.key); strings.Join(got, "|") != strings.Join(check.want, "|") {
			t.Errorf("%s: got %q, want %q", check.key, got, check.want)
		}
	}
}

func TestRichErrorKeepsItsDetails(t *testing.T) {
	detail := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "age", Description: "negative"}}}
	client := through(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		rich, err := status.New(codes.InvalidArgument, "no: \t ü %").WithDetails(detail)
		if err != nil {
			return nil, err
		}
		return nil, rich.Err()
	}})
	_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
	got := status.Convert(err)
	if got.Code() != codes.InvalidArgument || got.Message() != "no: \t ü %" || len(got.Details()) != 1 ||
		!proto.Equal(got.Details()[0].(proto.Message), detail) {
		t.Errorf("got %v with details %v", got, got.Details())
	}
}

func TestBackendSeesCallersDeadlineAndCancel(t *testing.T) {
	ended := make(chan error, 1)
	remaining := make(chan time.Duration, 1)
	client := through(t, service{unary: func(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		deadline, _ := ctx.Deadline()
		remaining <- time.Until(deadline)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	go func() {
		if left := <-remaining; left < 59*time.Minute || left > time.Hour {
			t.Errorf("the backend has %v left, the caller gave an hour", left)
		}
		cancel()
	}()
	if _, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{}); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the backend never learned of the cancellation")
	}
}

func TestRouteTimeoutEndsCall(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	o := everything(startService(t, service{bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
		<-s.Context().Done()
		select {
		case ended <- struct{}{}:
		default:
		}
		return s.Context().Err()
	}}))
	o.Routes[0].Timeout = 100 * time.Millisecond
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	eventually(t, "the time of a call that was at the backend is over there too", func() bool { // the first may not get there in time
		stream, err := client.FullDuplexCall(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
			t.Fatalf("got %v", err)
		}
		return len(ended) > 0
	})
}

func TestHalfCloseReachesBackendBeforeItAnswers(t *testing.T) {
	client := through(t, service{bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
		for {
			if _, err := s.Recv(); errors.Is(err, io.EOF) {
				return s.Send(&testgrpc.StreamingOutputCallResponse{})
			} else if err != nil {
				return err
			}
		}
	}})
	stream, err := client.FullDuplexCall(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testgrpc.StreamingOutputCallRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Errorf("no answer after half-close: %v", err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want a clean end", err)
	}
}

func TestBackendEndsCallWhileCallerStillSends(t *testing.T) {
	client := through(t, service{bidi: func(testgrpc.TestService_FullDuplexCallServer) error {
		return status.Error(codes.FailedPrecondition, "not today")
	}})
	stream, err := client.FullDuplexCall(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("got %v", err)
	}
}

func TestMessageLimits(t *testing.T) {
	t.Parallel()
	const bytesMax = 2 << 20
	payload := func(n int) *testgrpc.Payload { return &testgrpc.Payload{Body: bytes.Repeat([]byte{7}, n)} }
	o := everything(startService(t, service{unary: func(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		return &testgrpc.SimpleResponse{Payload: payload(int(r.ResponseSize))}, nil
	}}))
	o.Routes[0].MessageBytesMax = bytesMax
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	for name, c := range map[string]struct {
		request, response int
		want              codes.Code
	}{
		"both fit":           {bytesMax - 100, bytesMax - 100, codes.OK},
		"request too large":  {bytesMax + 100, 1, codes.ResourceExhausted},
		"response too large": {1, bytesMax + 100, codes.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{
				Payload: payload(c.request), ResponseSize: int32(c.response),
			})
			if status.Code(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err == nil && len(r.Payload.Body) != c.response {
				t.Errorf("got %d bytes, want %d", len(r.Payload.Body), c.response)
			}
		})
	}
}
