package bridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
)

func TestCompressedCallWithLargeMetadataReachesTheService(t *testing.T) {
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{oldService(t)}})
	ctx := metadata.AppendToOutgoingContext(testContext(t), "x-large", strings.Repeat("m", 5*frameBytesMax)) // of several frames
	for range 3 {
		got, err := demov1.NewGreeterClient(conn).SayHello(ctx, &demov1.HelloRequest{Name: "anna"}, grpc.UseCompressor(gzip.Name))
		if err != nil || got.Message != hello("anna").Message {
			t.Fatalf("got %v, %v", got, err)
		}
	}
}

// hostile is what no engine sends, each behind a whole preface.
var hostile = map[string][]byte{
	"frame larger than allowed":      appendFrameHead(nil, frameBytesMax+1, http2.FrameData, 0, 1),
	"CONTINUATION of nothing":        appendFrameHead(nil, 0, http2.FrameContinuation, 0, 1),
	"header block that is broken":    append(appendFrameHead(nil, 1, http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1), 0xff),
	"header block interrupted":       appendFrameHead(append(appendFrameHead(nil, 1, http2.FrameHeaders, 0, 1), 0x82), 0, http2.FrameSettings, 0, 0),
	"more padding than frame":        append(appendFrameHead(nil, 1, http2.FrameData, http2.FlagDataPadded, 1), 9),
	"half a priority":                append(appendFrameHead(nil, 1, http2.FrameHeaders, http2.FlagHeadersPriority, 1), 9),
	"WINDOW_UPDATE of one byte":      append(appendFrameHead(nil, 1, http2.FrameWindowUpdate, 0, 0), 9),
	"GOAWAY of one byte":             append(appendFrameHead(nil, 1, http2.FrameGoAway, 0, 0), 9),
	"no preface, but as many bytes.": nil,
}

func TestHostileFramesEndTheirConnectionAlone(t *testing.T) {
	b, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{oldService(t)}})
	for name, frames := range hostile {
		t.Run(name, func(t *testing.T) {
			end, err := b.Dial(testContext(t))
			must(t, err)
			preface := http2.ClientPreface
			if frames == nil {
				preface = strings.ToLower(preface)
			}
			_, _ = end.Write(append([]byte(preface), frames...)) // it may fail: the end has come within
			if _, err := io.Copy(io.Discard, end); err != nil {
				t.Error(err)
			}
			must(t, end.Close())
		})
	}
	_, err := demov1.NewGreeterClient(conn).SayHello(testContext(t), &demov1.HelloRequest{Name: "anna"})
	must(t, err)
}

// FuzzFrames has a server and its calls meet any bytes, in any pieces.
func FuzzFrames(f *testing.F) {
	for _, frames := range hostile {
		f.Add(frames, 3)
	}
	call := append(appendFrameHead(nil, 2, http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1), 0x83, 0x84)
	f.Add(append(call, append(appendFrameHead(nil, 6, http2.FrameData, http2.FlagDataEndStream, 1), 0, 0, 0, 0, 1, 'x')...), 9)
	f.Fuzz(func(t *testing.T, frames []byte, piece int) {
		s := frameServer{messageBytesMax: 1 << 10, quick: func(*serverCall) bool { return false }, handle: func(c *serverCall) error {
			data, err := c.Recv()
			if err == nil {
				err = c.Send(data)
			}
			return err
		}}
		s.init()
		end, err := s.dial(context.Background())
		must(t, err)
		all := append([]byte(http2.ClientPreface), frames...)
		for piece = max(piece, 1); len(all) > 0; all = all[min(piece, len(all)):] {
			if _, err := end.Write(all[:min(piece, len(all))]); err != nil {
				break
			}
		}
		must(t, end.Close())
		over, cancel := context.WithCancel(context.Background())
		cancel()
		s.shutdown(over, func() {})
	})
}

// TestMessageIsPutTogetherFromAnyPieces brings messages in DATA frames of every size.
func TestMessageIsPutTogetherFromAnyPieces(t *testing.T) {
	var stream []byte
	want := []string{"", "a", strings.Repeat("b", 300), "", strings.Repeat("c", 70)}
	for _, m := range want {
		stream = binary.BigEndian.AppendUint32(append(stream, 0), uint32(len(m)))
		stream = append(stream, m...)
	}
	for size := 1; size <= len(stream); size++ {
		c := newFrameConn(nil, 1<<10)
		s := c.stream(1)
		for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			piece := bytes.Clone(rest[:min(size, len(rest))])
			s.came(piece, len(piece), len(piece) == len(rest))
			clear(piece) // it was the connection's
		}
		for i, m := range want {
			if got, ok := s.take(); !ok || string(got.data) != m {
				t.Fatalf("in pieces of %d: message %d is %q, want %q", size, i, got.data, m)
			}
		}
		if _, more := s.take(); more || !s.recvEnd || len(s.part) > 0 {
			t.Fatalf("in pieces of %d: something is left", size)
		}
	}
}

func TestCallsGoOnWhenAConnectionIsUsedUp(t *testing.T) {
	calls := startGreeter(t, &greeter{})
	var first *frameConn
	for i := range 4 {
		got, err := calls.Invoke(testContext(t), sayHello, []byte(request("anna")))
		if err != nil || string(got) != reply("anna") {
			t.Fatalf("call %d: %q, %v", i, got, err)
		}
		if i == 0 {
			first = calls.conn
			first.mu.Lock()
			first.lastID = streamIDLast - 2
			first.mu.Unlock()
		}
	}
	if calls.conn == first {
		t.Error("there are no stream ids left on it")
	}
	eventually(t, "the first connection is closed", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return first.err != nil
	})
}

func TestServiceThatNoticesTheDeadlineFirstIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		deadline time.Time
		code     codes.Code
	}{{time.Time{}, codes.Canceled}, {time.Now().Add(time.Hour), codes.Canceled}, {time.Now(), codes.DeadlineExceeded}} {
		s := newFrameConn(nil, 1<<10).stream(1)
		s.deadline = c.deadline
		s.wasReset(http2.ErrCodeCancel)
		if got := status.Code(s.failed); got != c.code {
			t.Errorf("reset with the deadline %v: %v, want %v", c.deadline, got, c.code)
		}
	}
}
