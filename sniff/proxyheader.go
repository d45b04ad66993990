package sniff

// The PROXY protocol, versions 1 and 2: a proxy in front tells whose connection it is, in a header before the client's
// first byte (proxy-protocol.txt of HAProxy).
//
// Rules of this file. The header is framed here and parsed by go-proxyproto, from memory: that library wants a header of
// version 1 to come in one piece, and reads ahead. Here it may come byte by byte, and nothing behind it is read, so that
// what follows is classified, and relayed, from the socket itself.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

const (
	proxyV1Signature = "PROXY "
	proxyV1BytesMin  = 15  // "PROXY UNKNOWN\r\n" (section 2.1)
	proxyV1BytesMax  = 107 // two IPv6 addresses (section 2.1)

	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2BytesMin  = 16      // signature, command, family, length (section 2.2)
	proxyV2RestMax   = 4 << 10 // what follows them: addresses, and extensions of which a certificate is the largest
)

// Reasons of a Refusal about PROXY headers.
const (
	ProxyMissing   = "proxy_header_missing"   // a trusted proxy sent none
	ProxyMalformed = "proxy_header_malformed" // it sent one that cannot be read
	ProxyUntrusted = "proxy_header_untrusted" // somebody else sent one
)

// frameProxyHeader finds the end of a header. NeedMore comes with how many more bytes belong to it at least: whoever reads
// no more than these reads nothing behind it. Accept means that prefix is as long as the header, Reject that it is none, or
// one that is too long.
func frameProxyHeader(prefix []byte) (v Verdict, more int) {
	if literal(prefix, proxyV2Signature) != Reject && len(prefix) > 0 {
		return frameProxyV2(prefix)
	}
	if literal(prefix, proxyV1Signature) == Reject {
		return Reject, 0
	}
	switch end := bytes.IndexByte(prefix, '\n'); {
	case end >= 0 && end == len(prefix)-1:
		return Accept, 0
	case end >= 0 || len(prefix) >= proxyV1BytesMax:
		return Reject, 0
	case len(prefix) < proxyV1BytesMin:
		return NeedMore, proxyV1BytesMin - len(prefix)
	case prefix[len(prefix)-1] == '\r' || len(prefix) == proxyV1BytesMax-1:
		return NeedMore, 1
	}
	return NeedMore, len("\r\n")
}

func frameProxyV2(prefix []byte) (v Verdict, more int) {
	if len(prefix) < proxyV2BytesMin {
		return NeedMore, proxyV2BytesMin - len(prefix)
	}
	rest := int(binary.BigEndian.Uint16(prefix[proxyV2BytesMin-2:]))
	switch missing := proxyV2BytesMin + rest - len(prefix); {
	case rest > proxyV2RestMax || missing < 0:
		return Reject, 0
	case missing > 0:
		return NeedMore, missing
	}
	return Accept, 0
}

// isProxyHeader reports whether prefix begins as a header does, its signature complete.
func isProxyHeader(prefix []byte) bool {
	return literal(prefix, proxyV1Signature) == Accept || literal(prefix, proxyV2Signature) == Accept
}

// readProxyHeader reads the header that raw begins with, and returns the connection of the client that it names. A proxy
// that speaks for itself (LOCAL, UNKNOWN), to see whether somebody is here, is its own client. The error is a *Refusal,
// or that of reading; header is what was read.
func readProxyHeader(raw net.Conn) (client net.Conn, header []byte, err error) {
	header = make([]byte, 0, 2*proxyV1BytesMax) // enough for any without large extensions
	for {
		verdict, more := frameProxyHeader(header)
		switch {
		case verdict == Accept:
			client, err = forwardedConn(raw, header)
			return client, header, err
		case verdict == Reject && !isProxyHeader(header):
			return nil, header, &Refusal{ProxyMissing, fmt.Errorf("a trusted proxy must begin each connection with a PROXY header, and this one began with % x", header)}
		case verdict == Reject:
			return nil, header, &Refusal{ProxyMalformed, errors.New("the PROXY header does not end where it must")}
		}
		have := len(header)
		header = append(header, make([]byte, more)...)
		n, err := raw.Read(header[have:])
		header = header[:have+n]
		if n == 0 && err == nil {
			err = io.ErrNoProgress
		}
		if n == 0 {
			return nil, header, err
		}
	}
}

func forwardedConn(raw net.Conn, header []byte) (net.Conn, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	switch {
	case err != nil:
		return nil, &Refusal{ProxyMalformed, err}
	case h.Command.IsLocal():
		return raw, nil
	case !h.TransportProtocol.IsStream():
		return nil, &Refusal{ProxyMalformed, errors.New("the PROXY header tells of datagrams, not of a connection")}
	}
	return &forwarded{Conn: raw, client: h.SourceAddr, local: h.DestinationAddr}, nil
}

// forwarded is a connection from a proxy, with the addresses that the proxy told: those of the client, and where the client
// connected to.
type forwarded struct {
	net.Conn
	client, local net.Addr
}

func (f *forwarded) RemoteAddr() net.Addr { return f.client }
func (f *forwarded) LocalAddr() net.Addr  { return f.local }

// Detach gives the raw connection to a relay, which does not care for addresses any more.
func (f *forwarded) Detach() (prefix []byte, raw net.Conn) { return nil, f.Conn }

// CloseWrite sends FIN.
func (f *forwarded) CloseWrite() error { return closeWrite(f.Conn) }
