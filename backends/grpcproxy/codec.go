package grpcproxy

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
)

// message is one gRPC message as it came: never decoded.
type message struct{ data mem.BufferSlice }

// rawCodec hands a message's bytes on. Its name is empty: the caller's content-subtype goes on the wire instead.
type rawCodec struct{}

func (rawCodec) Name() string { return "" }

// Marshal gives the message's references away to grpc.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("the proxy forwards bytes, it cannot encode a %T", v)
	}
	data := m.data
	m.data = nil
	return data, nil
}

// Unmarshal takes references of its own: grpc drops its references on return.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("the proxy forwards bytes, it cannot decode a %T", v)
	}
	data.Ref()
	m.data = data
	return nil
}

// Compressed messages pass through without being opened. grpc insists on decompressing what it receives and on
// compressing what it sends, so the proxy's decompressor only puts a mark before the bytes, and the registered
// compressor strips the mark; bytes without it (any other user of gzip in this process) are compressed as usual.
// The mark is random for each process: no peer can forge it.
var mark = func() []byte {
	m := make([]byte, 16)
	_, _ = rand.Read(m) // never fails, by its documentation
	return m
}()

func init() { encoding.RegisterCompressor(markStripper{encoding.GetCompressor(gzip.Name)}) }

// marker is the decompressor of the proxy's own server and connections.
type marker struct{}

func (marker) Type() string { return gzip.Name }

func (marker) Do(r io.Reader) ([]byte, error) {
	marked := bytes.NewBuffer(append(make([]byte, 0, 1024), mark...))
	_, err := marked.ReadFrom(r)
	return marked.Bytes(), err
}

// markStripper is gzip, but for marked bytes.
type markStripper struct{ encoding.Compressor }

func (s markStripper) Compress(w io.Writer) (io.WriteCloser, error) {
	return &stripWriter{out: w, gzip: s.Compressor}, nil
}

// stripWriter decides by the first Write; a mark is never split, as marker put it into one buffer with its message.
type stripWriter struct {
	out  io.Writer
	gzip encoding.Compressor
	to   io.Writer
}

func (s *stripWriter) Write(p []byte) (int, error) {
	if s.to != nil {
		return s.to.Write(p)
	}
	if rest, found := bytes.CutPrefix(p, mark); found {
		s.to = s.out
		n, err := s.to.Write(rest)
		return n + len(mark), err
	}
	compress, err := s.gzip.Compress(s.out)
	if err != nil {
		return 0, fmt.Errorf("compress: %w", err)
	}
	s.to = compress
	return s.to.Write(p)
}

func (s *stripWriter) Close() error {
	if closer, ok := s.to.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
