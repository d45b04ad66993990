//go:build libzmq

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"gateway/internal/config"
	"gateway/internal/freeport"
)

// probed runs `gateway probe` and returns what it printed.
func probed(t *testing.T, wantCode int, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	code := run(append([]string{"probe", "-timeout", "5s"}, args...), &stdout, &stderr)
	if code != wantCode {
		t.Errorf("probe %v: exit %d, want %d\n%s%s", args, code, wantCode, &stdout, &stderr)
	}
	return stdout.String() + stderr.String()
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

// zmqServer binds a libzmq socket.
func zmqServer(t *testing.T, kind zmq.Type, prepare func(*zmq.Socket) error) (addr string) {
	t.Helper()
	s, err := zmq.NewSocket(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := prepare(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Bind("tcp://127.0.0.1:*"); err != nil {
		t.Fatal(err)
	}
	endpoint, err := s.GetLastEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimRight(endpoint, "\x00"), "tcp://")
}

func TestProbeTellsWhichZeroMQSocketAnswers(t *testing.T) {
	t.Parallel()
	addr := zmqServer(t, zmq.PULL, func(*zmq.Socket) error { return nil })
	contains(t, probed(t, exitOK, addr), "zmtp  ZMTP 3.1, mechanism NULL, socket PULL")
	addr = zmqServer(t, zmq.REP, func(s *zmq.Socket) error { return s.SetPlainServer(1) })
	contains(t, probed(t, exitOK, addr), "mechanism PLAIN")
}

func TestProbeMakesAWholeCurveHandshake(t *testing.T) {
	t.Parallel()
	public, secret, err := zmq.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []zmq.Type{zmq.ROUTER, zmq.PUB, zmq.PULL, zmq.PUSH} {
		addr := zmqServer(t, kind, func(s *zmq.Socket) error {
			if err := s.SetCurveServer(1); err != nil {
				return err
			}
			return s.SetCurveSecretkey(secret)
		})
		contains(t, probed(t, exitOK, addr), "mechanism CURVE (-server-key makes a whole handshake)")
		contains(t, probed(t, exitOK, "-server-key", public, addr), "handshake complete, socket "+kind.String())
		other, _, err := zmq.NewCurveKeypair()
		if err != nil {
			t.Fatal(err)
		}
		contains(t, probed(t, exitError, "-server-key", other, addr), "handshake failed")
	}
}

func TestProbeAsksGRPCForItsHealth(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	state := health.NewServer()
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, state)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	addr := l.Addr().String()
	contains(t, probed(t, exitOK, addr), "gRPC, health of the server: SERVING")
	state.SetServingStatus("demo.v1.Greeter", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	contains(t, probed(t, exitError, "-service", "demo.v1.Greeter", addr), "demo.v1.Greeter: NOT_SERVING")
	contains(t, probed(t, exitError, "-service", "nowhere", addr), "does not know nowhere")
}

func TestProbeReadsHTTPAndCertificates(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	contains(t, probed(t, exitOK, plain.Listener.Addr().String()), "http  HTTP/1.1, GET / answers 404 Not Found")

	for _, c := range []struct {
		from, until time.Duration // from now
		code        int
		want        string
	}{
		{-time.Hour, 49 * time.Hour, exitOK, "(2 days)"},
		{-48 * time.Hour, -24 * time.Hour, exitError, "expired on"},
		{24 * time.Hour, 48 * time.Hour, exitError, "not valid before"},
	} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, c.from, c.until)}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		contains(t, probed(t, c.code, s.Listener.Addr().String()), "tls   TLS 1.3", "certificate of CN=probe.test", c.want)
	}
}

func certificate(t *testing.T, from, until time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "probe.test"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), DNSNames: []string{"probe.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestProbeOfASilentOrAbsentServerFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", freeport.Keep(t))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, probed(t, exitError, "-timeout", "1s", l.Addr().String()), "answers none of")
	l.Close()
	contains(t, probed(t, exitError, l.Addr().String()), "nobody answers")
	contains(t, probed(t, exitUsage, "nonsense"), "is not HOST:PORT")
}

// TestProbeOfAGatewayThatChoosesByMechanism: both sides would wait for the other's greeting.
// servedInside runs a gateway within the test and returns the address of its first port.
func servedInside(t *testing.T, text string) (addr string) {
	t.Helper()
	cfg, diags := config.Parse("test.hcl", []byte(text))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	i, err := start(cfg, surroundings{log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	t.Cleanup(func() { i.shutdown(ended) })
	return i.current.Load().ports[0].addr.String()
}

func TestProbeOfAGatewayThatChoosesByMechanism(t *testing.T) {
	t.Parallel()
	public, secret, err := zmq.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	null := zmqServer(t, zmq.PULL, func(*zmq.Socket) error { return nil })
	curve := zmqServer(t, zmq.ROUTER, func(s *zmq.Socket) error {
		return errors.Join(s.SetCurveServer(1), s.SetCurveSecretkey(secret))
	})
	addr := servedInside(t, fmt.Sprintf(`
listen "127.0.0.1:0" {}
relay "vault" {
  match {
    mechanism = ["CURVE"]
  }
  dial = ["tcp://%s"]
}
relay "rest" {
  dial = ["tcp://%s"]
}
`, curve, null))
	contains(t, probed(t, exitOK, addr), "zmtp  ZMTP 3.1, mechanism NULL, socket PULL", "http  HTTP/1.1, GET / answers 404")
	contains(t, probed(t, exitOK, "-server-key", public, addr), "mechanism CURVE, handshake complete, socket ROUTER")
}

func TestProbeOfAZeroMQServerThatWaitsForItsClient(t *testing.T) {
	t.Parallel()
	addr := servedInside(t, `
listen "127.0.0.1:0" {}
backend "service" { grpc = ["127.0.0.1:1"] }
zmq "greet" {
  match { socket_type = ["REQ"] }
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "service" {}
}
`)
	contains(t, probed(t, exitOK, addr), "zmtp  ZMTP 3.0, mechanism NULL, handshake complete, socket REP")
}
