package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"gateway/internal/metrics"
	"gateway/sniff"
)

// issue writes a self-signed certificate for names, and its key.
func issue(t *testing.T, hosts ...string) CertificateFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: hosts}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := CertificateFiles{filepath.Join(dir, "edge.crt"), filepath.Join(dir, "edge.key")}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// tlsPort is a port that terminates TLS, with a table that takes everything inside to a sink.
func tlsPort(t *testing.T, timeout time.Duration) (addr string, taken sink, m *metrics.Metrics) {
	t.Helper()
	termination, err := NewTermination([]CertificateFiles{issue(t, "edge.example")}, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m, taken = metrics.New(), sink{make(chan string, 1)}
	s := New(Options{})
	s.SetTable(&Table{Relays: []Block{{Name: "all", Match: Match{Protocol: AnyProtocol}, Handler: taken}}})
	sniffer := sniff.NewServer(s.Attach(Listener{Name: "public", TLS: termination}, sniff.Options{
		Timeout: timeout, Metrics: m, Log: slog.New(slog.DiscardHandler),
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- sniffer.Serve(l) }()
	t.Cleanup(func() {
		sniffer.Close()
		s.Close()
		if err := receive(t, served); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), taken, m
}

func TestClientThatStopsInTheHandshakeIsClosedAtTheSniffDeadline(t *testing.T) {
	addr, _, m := tlsPort(t, 100*time.Millisecond)
	recorded := &recorder{}
	tls.Client(recorded, &tls.Config{ServerName: "edge.example"}).Handshake()
	for _, said := range []int{len(recorded.said), 50} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		c.Write(recorded.said[:said])
		// The server's half of the handshake, then the end: a reset where it has come to read no more.
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %d bytes: %v", said, err)
		}
	}
	var counted dto.Metric
	if err := m.SniffSeconds.WithLabelValues("timeout").(prometheus.Metric).Write(&counted); err != nil || counted.Histogram.GetSampleCount() != 2 {
		t.Errorf("%d timed out, %v", counted.Histogram.GetSampleCount(), err)
	}
}

// TestClientThatDoesNotReadTheHandshakeIsLeftInTime has a connection without buffers, as a long chain of certificates would find it.
func TestClientThatDoesNotReadTheHandshakeIsLeftInTime(t *testing.T) {
	termination, err := NewTermination([]CertificateFiles{issue(t, "edge.example")}, "", slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	recorded := &recorder{}
	tls.Client(recorded, &tls.Config{ServerName: "edge.example"}).Handshake()
	go client.Write(recorded.said)
	c, result := sniff.Detect(server, sniff.All, patience)
	if result != sniff.Matched {
		t.Fatal(result)
	}
	failed := make(chan error, 1)
	go func() {
		_, _, err := termination.terminate(c, time.Now().Add(50*time.Millisecond), false)
		failed <- err
	}()
	if err := receive(t, failed); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("terminate: %v", err)
	}
}

// recorder is a connection to nobody, that keeps what is said.
type recorder struct {
	net.Conn
	said []byte
}

func (r *recorder) Write(p []byte) (int, error) { r.said = append(r.said, p...); return len(p), nil }
func (r *recorder) Read([]byte) (int, error)    { return 0, io.EOF }

func TestResumedSessionIsServedAndALPNGoesOn(t *testing.T) {
	addr, taken, _ := tlsPort(t, patience)
	config := &tls.Config{
		InsecureSkipVerify: true, ServerName: "edge.example", NextProtos: []string{"http/1.1", "h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	for i := range 2 {
		c, err := tls.Dial("tcp", addr, config)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "SSH-2.0-test\r\n")
		c.CloseWrite()
		if got := receive(t, taken.got); got != "SSH-2.0-test\r\n" {
			t.Errorf("the block got %q", got)
		}
		io.ReadAll(c) // the ticket for the next
		if s := c.ConnectionState(); s.NegotiatedProtocol != "h2" || s.DidResume != (i == 1) {
			t.Errorf("connection %d: ALPN %q, resumed %v", i, s.NegotiatedProtocol, s.DidResume)
		}
		c.Close()
	}
}

func TestCertificateThatCannotBeReadIsSaidWithItsFile(t *testing.T) {
	good := issue(t, "edge.example")
	other := issue(t, "other.example")
	for _, c := range []struct {
		files    CertificateFiles
		clientCA string
		say      string
	}{
		{CertificateFiles{"/nowhere/edge.crt", good.Key}, "", "/nowhere/edge.crt"},
		{CertificateFiles{good.Cert, other.Key}, "", other.Key},
		{CertificateFiles{good.Key, good.Key}, "", good.Key},
		{good, good.Key, good.Key + " has no certificate in PEM"},
	} {
		_, err := NewTermination([]CertificateFiles{c.files}, c.clientCA, slog.Default())
		if err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%v, %q: %v", c.files, c.clientCA, err)
		}
	}
}
