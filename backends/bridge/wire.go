package bridge

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // callers may compress
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"
)

// memoryBytes is the buffer of an in-memory connection, each way.
const memoryBytes = 256 << 10

// streamWindowBytes is what one stream may have in flight between the bridge and the gRPC engine.
const streamWindowBytes = 1 << 20

// NewListener makes an in-memory listener, and the function that connects to it.
func NewListener() (net.Listener, func(ctx context.Context) (net.Conn, error)) {
	l := bufconn.Listen(memoryBytes)
	return l, l.DialContext
}

// Client makes a connection for calls, which dial reaches. It connects when the first call needs it, and again when the
// other side says that it goes.
func Client(dial func(ctx context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // the engine has retries
		grpc.WithInitialWindowSize(streamWindowBytes),
		grpc.WithUserAgent("gateway"),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{}), grpc.MaxCallRecvMsgSize(messageBytesCeiling)),
	)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return conn, nil
}

// messageBytesCeiling is the largest message that gRPC can carry; the engine has the limit of the route.
const messageBytesCeiling = 1<<31 - 1

// payloadBytes is one gRPC message, serialized.
type payloadBytes struct{ mem.BufferSlice }

// bytesCodec carries messages as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("the bridge sends bytes, it cannot encode a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal keeps the bytes: grpc drops its references on return. The receiver frees them.
func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	p, ok := v.(*payloadBytes)
	if !ok {
		return fmt.Errorf("the bridge receives bytes, it cannot decode a %T", v)
	}
	data.Ref()
	p.BufferSlice = data
	return nil
}

// bytes returns the message in one piece, which is valid until free.
func (p *payloadBytes) bytes() []byte {
	if len(p.BufferSlice) == 1 {
		return p.BufferSlice[0].ReadOnlyData()
	}
	return p.Materialize()
}

func (p *payloadBytes) free() {
	p.Free()
	p.BufferSlice = nil
}
