package grpcproxy

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawPeer speaks HTTP/2 frame by frame, so that it can do what no library would.
type rawPeer struct {
	*http2.Framer
	t       *testing.T
	conn    net.Conn
	block   bytes.Buffer
	encoder *hpack.Encoder
	silent  bool // until answers nothing: another goroutine writes
}

func newRawPeer(t *testing.T, conn net.Conn) *rawPeer {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{Framer: http2.NewFramer(conn, conn), t: t, conn: conn}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.encoder = hpack.NewEncoder(&p.block)
	return p
}

// rawCaller connects as a client and sends its preface and SETTINGS.
func rawCaller(t *testing.T, address string, settings ...http2.Setting) *rawPeer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := newRawPeer(t, conn)
	_, err = conn.Write([]byte(http2.ClientPreface))
	p.must(err)
	p.must(p.WriteSettings(settings...))
	return p
}

// rawBackend accepts one connection after another and hands each to serve, after the prefaces.
func rawBackend(t *testing.T, serve func(p *rawPeer), settings ...http2.Setting) (address string) {
	t.Helper()
	l := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p := newRawPeer(t, conn)
			if _, err := conn.Read(make([]byte, len(http2.ClientPreface))); err != nil {
				return
			}
			if err := p.WriteSettings(settings...); err != nil {
				return
			}
			serve(p)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func (p *rawPeer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) encode(fields ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.must(p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return p.block.Bytes()
}

// call opens a stream with a gRPC request's headers, and more fields.
func (p *rawPeer) call(stream uint32, end bool, more ...string) error {
	fields := append([]string{
		":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type", "application/grpc",
	}, more...)
	return p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: p.encode(fields...), EndHeaders: true, EndStream: end,
	})
}

// respond sends response headers.
func (p *rawPeer) respond(stream uint32, end bool, fields ...string) error {
	return p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: p.encode(fields...), EndHeaders: true, EndStream: end,
	})
}

// grpcOK is a whole answer: Trailers-Only.
func (p *rawPeer) grpcOK(stream uint32) error {
	return p.respond(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "0")
}

// until reads frames until one fits, answering SETTINGS and PING on the way; nil at the connection's end.
func (p *rawPeer) until(fits func(http2.Frame) bool) http2.Frame {
	for {
		f, err := p.ReadFrame()
		var broken http2.StreamError
		if errors.As(err, &broken) {
			continue
		}
		if err != nil {
			return nil
		}
		if p.silent {
			if fits(f) {
				return f
			}
			continue
		}
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			_ = p.WriteSettingsAck() // the connection may be gone
		}
		if g, ok := f.(*http2.PingFrame); ok && !g.IsAck() {
			_ = p.WritePing(true, g.Data)
		}
		if fits(f) {
			return f
		}
	}
}

func is[F http2.Frame](f http2.Frame) bool {
	_, ok := f.(F)
	return ok
}

// headersOn fits header blocks on a stream.
func headersOn(stream uint32) func(http2.Frame) bool {
	return func(f http2.Frame) bool { return is[*http2.MetaHeadersFrame](f) && f.Header().StreamID == stream }
}

// wantGoAway reads until GOAWAY with the code.
func (p *rawPeer) wantGoAway(code http2.ErrCode) {
	p.t.Helper()
	f, _ := p.until(is[*http2.GoAwayFrame]).(*http2.GoAwayFrame)
	if f == nil || f.ErrCode != code {
		p.t.Fatalf("got %v, want GOAWAY with %v", f, code)
	}
}

// wantReset reads until RST_STREAM on the stream, with the code.
func (p *rawPeer) wantReset(stream uint32, code http2.ErrCode) {
	p.t.Helper()
	f, _ := p.until(func(f http2.Frame) bool {
		return is[*http2.RSTStreamFrame](f) && f.Header().StreamID == stream
	}).(*http2.RSTStreamFrame)
	if f == nil || f.ErrCode != code {
		p.t.Fatalf("got %v, want RST_STREAM of %d with %v", f, stream, code)
	}
}

// wantStatus reads until the stream's final header block and compares grpc-status.
func (p *rawPeer) wantStatus(stream uint32, want string) {
	p.t.Helper()
	f, _ := p.until(func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == stream && h.StreamEnded()
	}).(*http2.MetaHeadersFrame)
	if f == nil {
		p.t.Fatalf("the connection ended, want grpc-status %s on stream %d", want, stream)
	}
	got := ""
	for _, field := range f.Fields {
		if field.Name == "grpc-status" {
			got = field.Value
		}
	}
	if got != want {
		p.t.Fatalf("stream %d: got %v, want grpc-status %s", stream, f.Fields, want)
	}
}
