package grpcproxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames makes HTTP/2 frames of arbitrary bytes: frames have whole headers and right lengths, so that the fuzzer gets
// past the framing, and header blocks are now and then valid.
func frames(script []byte, blocks ...[]byte) []byte {
	var out []byte
	for len(script) >= 4 {
		kind, flags := http2.FrameType(script[0]%11), http2.Flags(script[1])
		stream, n := uint32(script[2]%8), min(int(script[3]), len(script)-4)
		payload := script[4 : 4+n]
		script = script[4+n:]
		if kind == http2.FrameHeaders && n < len(blocks) {
			payload, flags = blocks[n], flags&http2.FlagHeadersEndStream|http2.FlagHeadersEndHeaders
		}
		out = append(appendFrameHeader(out, len(payload), kind, flags, stream), payload...)
	}
	return out
}

// fieldBlock encodes fields without the dynamic table, so that it decodes in any state.
func fieldBlock(fields ...string) []byte {
	var out bytes.Buffer
	e := hpack.NewEncoder(&out)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}) // a Buffer takes all
	}
	return out.Bytes()
}

var fuzzSeeds = [][]byte{
	{1, 5, 1, 1, 0, 1, 1, 5, 0, 0, 0, 0, 0},                                  // a unary call
	{1, 0, 1, 1, 3, 0, 1, 4, 0, 0, 0, 8},                                     // a call that is cancelled
	{1, 0, 1, 0, 9, 4, 1, 2, 0x82, 0x84},                                     // HEADERS and CONTINUATION
	{4, 0, 0, 6, 0, 4, 0, 0, 0, 0, 1, 0, 1, 1, 8, 0, 1, 4, 0, 0, 0, 9},       // no window, then some
	{6, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 7, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0}, // PING, GOAWAY
}

// dialFunc is a Dialer.
type dialFunc func(context.Context) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context) (net.Conn, error) { return f(ctx) }

// fuzzProxy serves one proxy for all inputs of a worker. What its calls hold must be zero between inputs.
func fuzzProxy(f *testing.F, dial func(context.Context) (net.Conn, error)) *Proxy {
	f.Helper()
	o := everything()
	o.Backends[0].Dial = dialFunc(dial)
	o.Log = slog.New(slog.DiscardHandler)
	p, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = p.Shutdown(ctx)
	})
	return p
}

// converse sends all of bytes as a client, and returns when the proxy has forgotten the connection.
func converse(t *testing.T, p *Proxy, frames []byte) {
	t.Helper()
	client, server := net.Pipe()
	p.serveSocket(server, nil)
	go func() { _, _ = io.Copy(io.Discard, client) }()
	if err := client.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, _ = client.Write([]byte(http2.ClientPreface)) // it may be closed at any time
	_, _ = client.Write(appendSettings(nil))
	_, _ = client.Write(frames)
	_ = client.Close()
	for deadline := time.Now().Add(patience); p.Status().Callers > 0; time.Sleep(20 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection is not forgotten")
		}
	}
	if s := p.Status(); s.Backends[0].Active != 0 || s.BufferedBytes != 0 {
		t.Errorf("%d calls, %d bytes are left", s.Backends[0].Active, s.BufferedBytes)
	}
}

// FuzzCaller plays any client.
func FuzzCaller(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add(seed)
	}
	request := fieldBlock(":method", "POST", ":scheme", "http", ":path", "/a.B/C", "content-type", "application/grpc")
	p := fuzzProxy(f, func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() { // a backend that says yes to everything, and never reads
			defer func() { _ = far.Close() }()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			script := appendSettings(nil)
			for stream := uint32(1); stream < 8; stream += 2 {
				_, err := far.Write(script)
				if err != nil {
					return
				}
				answer := fieldBlock(":status", "200", "grpc-status", "0")
				script = append(appendFrameHeader(nil, len(answer), http2.FrameHeaders, 5, stream), answer...)
			}
		}()
		return near, nil
	})
	f.Fuzz(func(t *testing.T, script []byte) {
		converse(t, p, frames(script, []byte{0x82}, request, fieldBlock("a", "b")))
	})
}

// FuzzBackend plays any backend to a client that makes two calls.
func FuzzBackend(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add(seed)
	}
	request := fieldBlock(":method", "POST", ":scheme", "http", ":path", "/a.B/C", "content-type", "application/grpc")
	scripts := make(chan []byte, 1)
	p := fuzzProxy(f, func(ctx context.Context) (net.Conn, error) {
		script := appendSettings(nil)
		select {
		case more := <-scripts:
			script = append(script, more...)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		go func() {
			_, _ = far.Write(script) // it may be closed at any time
			_ = far.Close()
		}()
		return near, nil
	})
	f.Fuzz(func(t *testing.T, script []byte) {
		select {
		case scripts <- frames(script, fieldBlock(":status", "200"), fieldBlock("grpc-status", "0"), fieldBlock(":status", "100")):
		default: // the last one was not dialled for
		}
		calls := []byte{1, 4, 1, 0, 1, 5, 3, 0}
		converse(t, p, frames(calls, request))
	})
}
