package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
)

// probeBannerWait is how long an SSH server may take to say hello unasked.
const probeBannerWait = 500 * time.Millisecond

// askGRPC asks for grpc.health.v1. A server that does not have it speaks gRPC all the same.
func askGRPC(ctx context.Context, target probeTarget) answer {
	conn, err := grpc.NewClient("passthrough:///"+target.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return answer{}
	}
	defer conn.Close()
	var header, trailer metadata.MD // what a server that speaks gRPC sends in any case
	reply, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: target.service},
		grpc.Header(&header), grpc.Trailer(&trailer))
	what := "the server"
	if target.service != "" {
		what = target.service
	}
	s := grpcstatus.Convert(err)
	switch {
	case err == nil:
		return answer{spoken: true, healthy: reply.Status == grpc_health_v1.HealthCheckResponse_SERVING,
			text: fmt.Sprintf("gRPC, health of %s: %s", what, reply.Status)}
	case s.Code() == codes.Unimplemented && len(header)+len(trailer) > 0:
		return answer{spoken: true, healthy: true, text: "gRPC, without a health service"}
	case s.Code() == codes.NotFound:
		return answer{spoken: true, text: fmt.Sprintf("gRPC, its health service does not know %s", what)}
	case len(header)+len(trailer) > 0:
		return answer{spoken: true, text: fmt.Sprintf("gRPC, %s: %s", s.Code(), s.Message())}
	}
	return answer{}
}

// askHTTP asks for /.
func askHTTP(ctx context.Context, target probeTarget) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target.addr+"/", nil)
	if err != nil {
		return answer{}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	reply, err := transport.RoundTrip(request)
	if err != nil || reply.ProtoMajor != 1 {
		return answer{}
	}
	defer reply.Body.Close()
	text := fmt.Sprintf("%s, GET / answers %s", reply.Proto, reply.Status)
	if server := reply.Header.Get("Server"); server != "" {
		text += ", server " + server
	}
	return answer{spoken: true, healthy: reply.StatusCode < http.StatusInternalServerError, text: text}
}

// askTLS makes a handshake and looks at the certificate.
func askTLS(ctx context.Context, target probeTarget) answer {
	host, _, err := net.SplitHostPort(target.addr)
	if err != nil {
		return answer{}
	}
	d := tls.Dialer{Config: &tls.Config{
		ServerName:         host,
		InsecureSkipVerify: true, // an expired or unknown certificate is to be told, not refused
		NextProtos:         []string{"h2", "http/1.1"},
	}}
	conn, err := d.DialContext(ctx, "tcp", target.addr)
	if err != nil {
		return answer{}
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	leaf := state.PeerCertificates[0]
	text := fmt.Sprintf("%s, ALPN %q, certificate of %s", tls.VersionName(state.Version), state.NegotiatedProtocol, leaf.Subject)
	left := time.Until(leaf.NotAfter)
	switch {
	case left <= 0:
		return answer{spoken: true, text: text + fmt.Sprintf(", expired on %s", leaf.NotAfter.Format(time.DateOnly))}
	case time.Until(leaf.NotBefore) > 0:
		return answer{spoken: true, text: text + fmt.Sprintf(", not valid before %s", leaf.NotBefore.Format(time.DateOnly))}
	}
	text += fmt.Sprintf(", valid until %s (%d days)", leaf.NotAfter.Format(time.DateOnly), int(left.Hours()/24))
	chain := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		chain.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Intermediates: chain}); err != nil {
		text += fmt.Sprintf("; this machine does not trust it: %v", err)
	}
	return answer{spoken: true, healthy: true, text: text}
}

// askSSH listens for a banner, and says hello to a server behind a port that waits for the client.
func askSSH(ctx context.Context, target probeTarget) answer {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.addr)
	if err != nil {
		return answer{}
	}
	defer conn.Close()
	banner := readBanner(conn, probeBannerWait)
	if banner == "" {
		if _, err := conn.Write([]byte("SSH-2.0-gateway_probe\r\n")); err != nil {
			return answer{}
		}
		banner = readBanner(conn, probeBannerWait)
	}
	if !strings.HasPrefix(banner, "SSH-") {
		return answer{}
	}
	return answer{spoken: true, healthy: true, text: fmt.Sprintf("%q", banner)}
}

// readBanner is the first line that comes within wait (RFC 4253, section 4.2: at most 255 bytes), "" for none.
func readBanner(conn net.Conn, wait time.Duration) string {
	if conn.SetReadDeadline(time.Now().Add(wait)) != nil {
		return ""
	}
	line, err := bufio.NewReaderSize(conn, 255).ReadSlice('\n')
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(line), "\r\n")
}
