package gateway

// TLS on an exposed port: it is terminated, and what is inside is sniffed again.
//
// Rules of this file. The handshake runs while the connection counts as being sniffed, under the same deadline. A listener
// keeps its two tls.Configs as long as it lives: ALPN and session tickets depend on them. They differ in what is chosen for a
// client that offers both HTTP/2 and HTTP/1.1, as browsers do: they speak HTTP/1.1 wherever something is served by it, since
// gRPC is all that is served by HTTP/2. gRPC's own clients offer HTTP/2 alone. What may change is behind the configs'
// functions: which certificate is shown (GetCertificate), whom a client's certificate must come from (VerifyConnection, which
// sees resumed sessions too).

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"gateway/sniff"
)

// Reasons to refuse a client of a listener that terminates TLS.
const (
	refusedHandshake   = "tls_handshake"
	refusedCertificate = "client_certificate" // it is not from the authorities that are asked for
)

// insideTLS are the protocols that are looked for there.
var insideTLS = []sniff.Protocol{sniff.ZMTP, sniff.HTTP2, sniff.HTTP1, sniff.SSH}

// CertificateFiles are the two files of a certificate, in PEM: the chain, its own certificate first, and the private key.
type CertificateFiles struct{ Cert, Key string }

// Termination ends TLS for the clients of one listener. Its files are looked at again while clients come: a certificate is
// renewed by putting another in its place.
type Termination struct {
	certificates []*certificate             // at least one; the first is for who asks for none of them
	authorities  *fromFiles[*x509.CertPool] // nil: clients need no certificate
	grpc, http   *tls.Config                // which prefer HTTP/2, HTTP/1.1
}

// certificate is one of a listener's, with what is logged of it.
type certificate struct {
	*fromFiles[*tls.Certificate]
	file    string
	log     *slog.Logger
	expired atomic.Pointer[tls.Certificate] // that was logged as expired
}

// NewTermination reads the files. clientCA names a file of certificates of authorities, in PEM, one of which must have
// signed a client's; "": clients need none.
func NewTermination(files []CertificateFiles, clientCA string, log *slog.Logger) (*Termination, error) {
	t := &Termination{}
	for _, f := range files {
		values, err := readFiles(log, func() (*tls.Certificate, error) { return readCertificate(f) }, f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("the certificate of a TLS listener: %w", err)
		}
		t.certificates = append(t.certificates, &certificate{fromFiles: values, file: f.Cert, log: log.With("certificate", f.Cert)})
	}
	t.grpc = &tls.Config{
		GetCertificate: t.choose,
		NextProtos:     []string{"h2", "http/1.1"},
		MinVersion:     tls.VersionTLS12,
	}
	if clientCA != "" {
		var err error
		if t.authorities, err = readFiles(log, func() (*x509.CertPool, error) { return readAuthorities(clientCA) }, clientCA); err != nil {
			return nil, fmt.Errorf("the authorities of clients of a TLS listener: %w", err)
		}
		t.grpc.ClientAuth = tls.RequireAnyClientCert // and VerifyConnection decides
		t.grpc.VerifyConnection = t.verify
	}
	t.http = t.grpc.Clone()
	t.http.NextProtos = []string{"http/1.1", "h2"}
	return t, nil
}

func readCertificate(f CertificateFiles) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	return &c, nil
}

func readAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

// Config is for servers that shake hands by themselves.
func (t *Termination) Config() *tls.Config { return t.grpc }

// Certificates gives the file of each certificate, and until when it is good.
func (t *Termination) Certificates() iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) {
		for _, c := range t.certificates {
			if !yield(c.file, c.current().Leaf.NotAfter) {
				return
			}
		}
	}
}

// choose is the certificate for a client: the first that bears the name that it asks for and suits it otherwise, else the
// first of all.
func (t *Termination) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for _, c := range t.certificates {
		if now := c.current(); hello.SupportsCertificate(now) == nil {
			return now, nil
		}
	}
	return t.certificates[0].current(), nil
}

// current is the certificate as its files have it. That it has expired is logged once.
func (c *certificate) current() *tls.Certificate {
	now := c.get()
	if time.Now().After(now.Leaf.NotAfter) && c.expired.Swap(now) != now {
		c.log.Error("a certificate has expired, clients will refuse it; put a new one in its place, it is taken up without a restart",
			"not_after", now.Leaf.NotAfter)
	}
	return now
}

// verify holds a client's certificate against the authorities.
func (t *Termination) verify(state tls.ConnectionState) error {
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: t.authorities.get(), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return &sniff.Refusal{Reason: refusedCertificate, Err: fmt.Errorf("the client's certificate: %w", err)}
	}
	return nil
}

// terminate shakes hands with c and finds out what is inside. browsers tells whether something is served by HTTP/1.1.
func (t *Termination) terminate(c *sniff.Conn, deadline time.Time, browsers bool) (*sniff.Conn, sniff.Result, error) {
	config := t.grpc
	if browsers {
		config = t.http
	}
	session := &session{Conn: tls.Server(c, config), termination: t}
	err := session.SetWriteDeadline(deadline)
	if err == nil {
		err = session.Handshake()
	}
	if err == nil {
		err = session.SetWriteDeadline(time.Time{})
	}
	var refusal *sniff.Refusal
	switch {
	case err == nil:
		session.name = session.ConnectionState().ServerName
		inside, result := sniff.Inside(session, session.name, insideTLS)
		return inside, result, nil
	case errors.As(err, &refusal), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
		return nil, sniff.Refused, err
	}
	return nil, sniff.Refused, &sniff.Refusal{Reason: refusedHandshake, Err: err}
}

// session is a connection inside TLS.
type session struct {
	*tls.Conn
	termination *Termination
	name        string // that the client asked for; "": none
}

// Misdirected tells whether a request for an authority came to a connection that was opened for another one, whose
// certificate does not bear its name: the client must be told to open another (421, RFC 9110, section 15.5.20). That is
// about names: who asked for none, or now asks for an address, connects without them.
func (s *session) Misdirected(authority string) bool {
	host := hostOf(authority)
	if s.name == "" || host == "" || strings.EqualFold(s.name, host) {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	shown := s.termination.named(s.name)
	return shown != s.termination.named(host) || shown.get().Leaf.VerifyHostname(host) != nil
}

// named is the certificate for a name.
func (t *Termination) named(name string) *certificate {
	for _, c := range t.certificates {
		if c.get().Leaf.VerifyHostname(name) == nil {
			return c
		}
	}
	return t.certificates[0]
}

// hostOf is an authority without its port.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return strings.Trim(authority, "[]")
}
