package grpcproxy

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

// plainHTTP2 is a client that speaks HTTP/2 without TLS and without knowing gRPC.
func plainHTTP2(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// startHTTP2 serves plain HTTP/2 by net/http: a backend whose bytes are the test's own.
func startHTTP2(t *testing.T, handle http.HandlerFunc) (address string) {
	t.Helper()
	l := listen(t)
	server := &http.Server{Handler: handle, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().String()
}

// TestCompressedMessagePassesUntouched sends what no decompressor could open.
func TestCompressedMessagePassesUntouched(t *testing.T) {
	request := []byte("\x01\x00\x00\x00\x0bnot gzip at")
	answer := []byte("\x01\x00\x00\x00\x07nor me!\x00\x00\x00\x00\x00")
	type seen struct {
		header http.Header
		body   []byte
	}
	seens := make(chan seen, 1)
	address := startProxy(t, everything(startHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seens <- seen{r.Header, body}
		w.Header().Set("content-type", "application/grpc+thing")
		w.Header().Set("grpc-encoding", "gzip")
		w.Header().Set("trailer", "grpc-status")
		_, _ = w.Write(answer[:12])
		w.Header().Set("grpc-status", "0")
	})))
	r, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "http://"+address+"/a.B/C", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{
		"Content-Type": {"application/grpc+thing"}, "Te": {"trailers"},
		"Grpc-Encoding": {"gzip"}, "Grpc-Accept-Encoding": {"gzip,identity"},
	}
	response, err := plainHTTP2(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	at := <-seens
	if !bytes.Equal(at.body, request) || at.header.Get("grpc-encoding") != "gzip" {
		t.Errorf("the backend got %q in %q, sent was %q", at.body, at.header.Get("grpc-encoding"), request)
	}
	if got := at.header.Get("content-type"); got != "application/grpc+thing" {
		t.Errorf("the backend got content type %q", got)
	}
	if !bytes.Equal(body, answer[:12]) || response.Header.Get("grpc-encoding") != "gzip" || response.Trailer.Get("grpc-status") != "0" {
		t.Errorf("the caller got %q in %q, status %q", body, response.Header.Get("grpc-encoding"), response.Trailer.Get("grpc-status"))
	}
}
