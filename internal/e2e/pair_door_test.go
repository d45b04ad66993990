//go:build libzmq

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// certificate writes a certificate for 127.0.0.1 that is its own authority, and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "door"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return write("door.crt", "CERTIFICATE", der), write("door.key", "PRIVATE KEY", secret)
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
	return path
}

// TestDoorWithTLSAndATokenLetsInWhoKnowsBoth has agents that lack something, and then one that has it all.
func TestDoorWithTLSAndATokenLetsInWhoKnowsBoth(t *testing.T) {
	cert, key := certificate(t)
	other, _ := certificate(t)
	g := pairGateway(t, fmt.Sprintf("agents = true\n    token = \"swordfish\"\n    tls {\n      cert = %q\n      key = %q\n    }", cert, key))
	worker := boundEcho(t, "one", func(*zmq.Socket) {})
	right, wrong := secretFile(t, "swordfish"), secretFile(t, "sword")
	for _, c := range []struct {
		name, says string
		args       []string
	}{
		{"no-tls", "is that the workers' door", []string{"-token-file", right}},
		{"other-authority", "unknown authority", []string{"-token-file", right, "-tls-ca", other}},
		{"wrong-token", "the token is wrong", []string{"-token-file", wrong, "-tls-ca", cert}},
		{"no-token", "the token is wrong", []string{"-tls-ca", cert}},
	} {
		a := startAgent(t, g, c.name, worker, c.args...)
		eventually(t, zmqTimeout, c.name+" is told why", func() bool { return strings.Contains(a.log.String(), c.says) })
		a.kill()
	}
	if n := g.metric("gateway_pair_parked"); n != 0 {
		t.Fatalf("%v slots of agents that lack something", n)
	}
	g.waitLog("an agent was denied", zmqTimeout)
	startAgent(t, g, "right", worker, "-token-file", right, "-tls-ca", cert, "-slots", "2")
	g.parked(2)
	client := zmqSocket(t, zmq.DEALER)
	must(t, client.Connect("tcp://"+g.addr("public")))
	if got := askOnce(t, client); got != "one" {
		t.Errorf("served by %q", got)
	}
}

func TestRenewedCertificateOfTheDoorIsTakenUpWithoutAReload(t *testing.T) {
	cert, key := certificate(t)
	newCert, newKey := certificate(t)
	g := pairGateway(t, fmt.Sprintf("agents = true\n    tls {\n      cert = %q\n      key = %q\n    }", cert, key))
	worker := boundEcho(t, "one", func(*zmq.Socket) {})
	a := startAgent(t, g, "early", worker, "-tls-ca", newCert, "-slots", "1")
	eventually(t, zmqTimeout, "the agent does not trust the certificate of before", func() bool {
		return strings.Contains(a.log.String(), "unknown authority")
	})
	must(t, os.Rename(newKey, key))
	text, err := os.ReadFile(newCert)
	must(t, err, os.WriteFile(cert, text, 0o600))
	g.parked(1)
	g.waitLog("files have changed and were read again", zmqTimeout)
	if n := g.metric(`gateway_certificate_not_after_seconds{file="` + cert + `",listener="vault/workers"}`); n == 0 {
		t.Error("the metrics do not tell until when the certificate is good")
	}
}

// TestStrangersAreTurnedAwayAtTheDoor has junk from where workers may come and from where they may not, and a worker from there.
func TestStrangersAreTurnedAwayAtTheDoor(t *testing.T) {
	g := pairGateway(t, "agents = true\n    source = [\"127.0.0.0/16\"]")
	say := func(from, first string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", g.addr("vault/workers"))
		must(t, err)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(zmqTimeout))
		_, err = c.Write([]byte(first))
		must(t, err)
		return c
	}
	for _, from := range []string{"127.0.0.1", "127.1.0.1"} {
		c := say(from, "GET / HTTP/1.1\r\n\r\n")
		if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("from %s: got %d bytes, error %v", from, n, err)
		}
	}
	say("127.1.0.1", string(zmtpSignature))
	eventually(t, zmqTimeout, "a worker that may not come is held silent", func() bool { return g.metric("gateway_held") == 1 })
	if n := g.metric(`gateway_refused_total{listener="vault/workers",reason="source"}`); n != 2 {
		t.Errorf("%v were refused for where they are, want 2", n)
	}
	g.waitLog(`msg=refused listener=vault/workers reason=source`, zmqTimeout)
	if n := g.metric("gateway_pair_parked"); n != 0 {
		t.Errorf("%v are parked", n)
	}
}
