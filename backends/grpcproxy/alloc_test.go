package grpcproxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// terseBatch is how many calls are open at once; the backend answers when it has that many.
	terseBatch = 100

	// allocsMax is the call itself.
	allocsMax = 1
	// allocsOfRuntime is what the scheduler, the loops' growing batches and the test may add to a call on the average.
	allocsOfRuntime = 0.1
)

// tersePeer speaks HTTP/2 without allocating: what it sends is encoded beforehand, of what comes it looks at frame headers.
type tersePeer struct {
	conn   net.Conn
	buf    [inputBytes]byte
	w      int
	stream [terseBatch]uint32
	ended  int // streams that the other side has ended, of this batch
}

// read notes the streams that end, until there are n.
func (p *tersePeer) read(n int) error {
	for p.ended < n {
		got, err := p.conn.Read(p.buf[p.w:])
		if err != nil {
			return err
		}
		p.w += got
		r := 0
		for p.w-r >= frameHeaderBytes {
			h := parseFrameHeader(p.buf[r:])
			size := frameHeaderBytes + int(h.length)
			if r+size > p.w {
				break
			}
			carries := h.kind == http2.FrameData || h.kind == http2.FrameHeaders
			if carries && h.has(http2.FlagDataEndStream) { // the same bit in both
				p.stream[p.ended] = h.stream
				p.ended++
			}
			r += size
		}
		p.w = copy(p.buf[:], p.buf[r:p.w])
	}
	return nil
}

// terseFrames encodes frames twice: as they must be sent first, and as they can be from then on, when HPACK has all fields.
func terseFrames(t testing.TB, write func(f *http2.Framer, block func(fields ...string) []byte) error) (first, later []byte) {
	var out, block bytes.Buffer
	framer, encoder := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
	encode := func(fields ...string) []byte {
		block.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to memory
		}
		return block.Bytes()
	}
	for _, to := range []*[]byte{&first, &later} {
		out.Reset()
		if err := write(framer, encode); err != nil {
			t.Fatal(err)
		}
		*to = bytes.Clone(out.Bytes())
	}
	return first, later
}

// terseMessage is an empty gRPC message.
var terseMessage = make([]byte, 5)

func terseRequest(f *http2.Framer, block func(...string) []byte) error {
	fields := block(":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type", "application/grpc",
		"te", "trailers", "user-agent", "terse/1", "x-more", "and more")
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fields, EndHeaders: true}); err != nil {
		return err
	}
	return f.WriteData(1, true, terseMessage)
}

func terseAnswer(f *http2.Framer, block func(...string) []byte) error {
	fields := block(":status", "200", "content-type", "application/grpc")
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fields, EndHeaders: true}); err != nil {
		return err
	}
	if err := f.WriteData(1, false, terseMessage); err != nil {
		return err
	}
	fields = block("grpc-status", "0", "grpc-message", "")
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fields, EndHeaders: true, EndStream: true})
}

// appendTerse appends the frames for a stream.
func appendTerse(to, frames []byte, stream uint32) []byte {
	start := len(to)
	to = append(to, frames...)
	for at := start; at < len(to); {
		binary.BigEndian.PutUint32(to[at+5:], stream)
		at += frameHeaderBytes + int(parseFrameHeader(to[at:]).length)
	}
	return to
}

// terseGreeting opens all windows.
func terseGreeting(b []byte) []byte {
	b = appendSettings(b, http2.Setting{ID: http2.SettingInitialWindowSize, Val: windowMax})
	return appendWindowUpdate(b, 0, windowMax-windowDefault)
}

// terseBackend answers in batches. seen counts the calls.
func terseBackend(t testing.TB, seen *atomic.Int64) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first, later := terseFrames(t, terseAnswer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		p := &tersePeer{conn: conn}
		if _, err := io.ReadFull(conn, p.buf[:len(http2.ClientPreface)]); err != nil {
			return
		}
		out := terseGreeting(nil)
		for frames := first; ; frames = later {
			if _, err := conn.Write(out); err != nil {
				return
			}
			for p.ended < terseBatch {
				if p.read(p.ended+1) != nil {
					return
				}
				seen.Store(int64(p.ended))
			}
			out = out[:0]
			for _, stream := range p.stream {
				out = appendTerse(out, frames, stream)
				frames = later
			}
			p.ended = 0
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// terseCaller makes calls in batches.
type terseCaller struct {
	tersePeer
	first, later, out []byte
	next              uint32
}

func newTerseCaller(t testing.TB, address string) *terseCaller {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &terseCaller{next: 1}
	c.conn = conn
	c.first, c.later = terseFrames(t, terseRequest)
	if _, err := conn.Write(terseGreeting([]byte(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	return c
}

// begin sends n calls.
func (c *terseCaller) begin(t testing.TB, n int) {
	c.out = c.out[:0]
	for range n {
		c.out = appendTerse(c.out, c.first, c.next)
		c.first = c.later
		c.next += 2
	}
	if _, err := c.conn.Write(c.out); err != nil {
		t.Fatal(err)
	}
}

// finish reads the answers of a whole batch.
func (c *terseCaller) finish(t testing.TB) {
	if err := c.read(terseBatch); err != nil {
		t.Fatal(err)
	}
	c.ended = 0
}

func (c *terseCaller) batches(t testing.TB, n int) {
	for range n {
		c.begin(t, terseBatch)
		c.finish(t)
	}
}

// terseProxy is a caller, a proxy and a backend that have met.
func terseProxy(t testing.TB) (caller *terseCaller, seen *atomic.Int64) {
	seen = new(atomic.Int64)
	caller = newTerseCaller(t, startProxy(t, everything(terseBackend(t, seen))))
	const warmUp = 20
	caller.batches(t, warmUp)
	return caller, seen
}

// TestCallCostsOneAllocation has neither the caller nor the backend allocate: what is counted is the proxy's.
func TestCallCostsOneAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	const batches = 100
	caller, _ := terseProxy(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	caller.batches(t, batches)
	runtime.ReadMemStats(&after)
	got := float64(after.Mallocs-before.Mallocs) / (batches * terseBatch)
	t.Logf("figure: a unary call costs %.2f allocations", got)
	if got > allocsMax+allocsOfRuntime {
		t.Errorf("a call costs %.2f allocations, want %d", got, allocsMax)
	}
}

func TestOpenCallsCostNoGoroutine(t *testing.T) {
	caller, seen := terseProxy(t)
	before := runtime.NumGoroutine()
	caller.begin(t, terseBatch-1)
	eventually(t, "all but the last call are at the backend", func() bool { return seen.Load() == terseBatch-1 })
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines while %d calls are open, %d before", n, terseBatch-1, before)
	}
	caller.begin(t, 1)
	caller.finish(t)
}

func BenchmarkUnaryCall(b *testing.B) {
	caller, _ := terseProxy(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%terseBatch == 0 {
			caller.batches(b, 1)
		}
	}
}
