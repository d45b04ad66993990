package grpcproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"golang.org/x/net/http2"
)

// clientTLS makes what a backend's TLS says; nil for plaintext.
func clientTLS(b Backend) (*tls.Config, error) {
	if b.TLS == nil {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{http2.NextProtoTLS}}
	if b.TLS.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(b.TLS.CA)) {
			return nil, errors.New("tls: the ca holds no certificate in PEM")
		}
	}
	if b.TLS.Cert != "" || b.TLS.Key != "" {
		own, err := tls.X509KeyPair([]byte(b.TLS.Cert), []byte(b.TLS.Key))
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	if host, _, err := net.SplitHostPort(b.Authority); err == nil {
		config.ServerName = host
	} else {
		config.ServerName = b.Authority
	}
	return config, nil
}

// secure speaks TLS on the socket, and insists on HTTP/2 (RFC 9113 section 3.2).
func (t *target) secure(ctx context.Context, socket net.Conn) (net.Conn, error) {
	config := t.backend.tls
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = t.host
	}
	secured := tls.Client(socket, config)
	err := secured.HandshakeContext(ctx)
	if err == nil && secured.ConnectionState().NegotiatedProtocol != http2.NextProtoTLS {
		err = errors.New("the server did not choose h2 by ALPN")
	}
	if err != nil {
		_ = socket.Close() // the handshake's error is what counts
		return nil, fmt.Errorf("tls: %w", err)
	}
	return secured, nil
}
