// Package curvetransport gives go-zeromq/zmq4 sockets CURVE (or PLAIN), which that library lacks:
//
//	err := zmq4.RegisterTransport("curve+tcp", curvetransport.New(zmtp.Options{Security: zmtp.CurveClient{Server: key}}))
//	...
//	err = socket.Dial("curve+tcp://127.0.0.1:5555")
//
// A transport is registered once for the whole process, under a name of its own for each set of keys. It is made for
// trusted programs, such as demos and tests: zmq4 does the handshakes of a listener one after the other.
package curvetransport

import (
	"context"
	"fmt"
	"net"

	"github.com/go-zeromq/zmq4/transport"

	"gateway/internal/zmtp"
)

// New returns a transport over TCP whose connections have the security of o. SocketType, Identity and Metadata of o are
// ignored: the socket has its own.
func New(o zmtp.Options) transport.Transport {
	return curveTransport{Transport: transport.New("tcp"), options: o}
}

// curveTransport takes the reading of addresses from the TCP transport.
type curveTransport struct {
	transport.Transport
	options zmtp.Options
}

func (t curveTransport) Dial(ctx context.Context, dialer transport.Dialer, addr string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("curvetransport: %w", err)
	}
	return zmtp.NewCurveConn(conn, false, t.options), nil
}

func (t curveTransport) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("curvetransport: %w", err)
	}
	return curveListener{Listener: l, options: t.options}, nil
}

type curveListener struct {
	net.Listener
	options zmtp.Options
}

func (l curveListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return zmtp.NewCurveConn(conn, true, l.options), nil
}
