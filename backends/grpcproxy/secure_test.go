package grpcproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	der, key := a.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.key, a.cert, a.pem = key, cert, toPEM("CERTIFICATE", der)
	return a
}

// issue signs a certificate; the first is the authority's own.
func (a *authority) issue(t *testing.T, template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "gateway test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer); err != nil {
		t.Fatal(err)
	}
	return der, key
}

// pair is a certificate for a host, or for a client where host is empty, and its key, in PEM.
func (a *authority) pair(t *testing.T, host string) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if host != "" {
		template.DNSNames, template.ExtKeyUsage = []string{host}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, private := a.issue(t, template)
	bare, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return toPEM("CERTIFICATE", der), toPEM("PRIVATE KEY", bare)
}

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// serverCredentials are those of greeter.test; clients must be known to the authority where mutual.
func (a *authority) serverCredentials(t *testing.T, mutual bool) grpc.ServerOption {
	t.Helper()
	cert, err := tls.X509KeyPair(bytesOf(a.pair(t, "greeter.test")))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if mutual {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AddCert(a.cert)
	}
	return grpc.Creds(credentials.NewTLS(config))
}

func bytesOf(a, b string) (x, y []byte) { return []byte(a), []byte(b) }

func TestInteropOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for name, mutual := range map[string]bool{"TLS": false, "mTLS": true} {
		t.Run(name, func(t *testing.T) {
			o := everything(startInterop(t, listen(t), ca.serverCredentials(t, mutual)))
			o.Backends[0].Authority, o.Backends[0].TLS = "greeter.test", &TLS{CA: ca.pem}
			if mutual {
				o.Backends[0].TLS.Cert, o.Backends[0].TLS.Key = ca.pair(t, "")
			}
			conn := connect(t, startProxy(t, o))
			for name, run := range interopCases {
				t.Run(name, func(t *testing.T) { run(testContext(t), conn, testgrpc.NewTestServiceClient(conn)) })
			}
		})
	}
}

func TestBackendThatIsNotWhoItShouldBeGetsNoCall(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		authority string
		tls       TLS
		mutual    bool
		problem   string
	}{
		"another authority":   {"greeter.test", TLS{CA: other.pem}, false, "unknown authority"},
		"another name":        {"other.test", TLS{CA: ca.pem}, false, "other.test"},
		"no own certificate":  {"greeter.test", TLS{CA: ca.pem}, true, "certificate required"},
		"not in its CA's PEM": {"", TLS{CA: ca.pem}, false, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			o := everything(startInterop(t, listen(t), ca.serverCredentials(t, c.mutual)))
			o.Backends[0].Authority, o.Backends[0].TLS = c.authority, &c.tls
			p, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p))).EmptyCall(testContext(t), &testgrpc.Empty{})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
			eventually(t, "the status says why: "+c.problem, func() bool {
				return strings.Contains(p.Status().Backends[0].Targets[0].LastError, c.problem)
			})
		})
	}
	for name, bad := range map[string]TLS{"ca": {CA: "no PEM"}, "key": {Cert: ca.pem, Key: "no PEM"}} {
		if _, err := New(Options{Backends: []Backend{{Name: "b", Targets: []string{"127.0.0.1:1"}, TLS: &bad}}}); err == nil {
			t.Errorf("a bad %s was accepted", name)
		}
	}
}
