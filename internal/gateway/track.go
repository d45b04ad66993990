package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

// countedConn counts the bytes of a connection on its way to a server that wants a net.Listener, and keeps the first
// error of reading that its peer caused: such a server reports neither.
type countedConn struct {
	net.Conn
	in, out atomic.Int64
	flow    *flow // counts them too
	failed  atomic.Pointer[error]
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Add(int64(n))
	c.flow.in.Add(int64(n))
	c.fail(err)
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Add(int64(n))
	c.flow.out.Add(int64(n))
	return n, err
}

// TryWrite writes what the connection has room for, without waiting; errors.ErrUnsupported says that it cannot.
func (c *countedConn) TryWrite(b []byte) (int, error) {
	below, ok := c.Conn.(interface{ TryWrite([]byte) (int, error) })
	if !ok {
		return 0, errors.ErrUnsupported
	}
	n, err := below.TryWrite(b)
	c.out.Add(int64(n))
	c.flow.out.Add(int64(n))
	return n, err
}

// Socket is for a server that reads and writes by the descriptor: it gives out the connection below, and whom to tell what
// comes and goes there, and why reading failed. Closing stays here.
func (c *countedConn) Socket() (below net.Conn, count func(in, out int, failed error)) {
	return c.Conn, func(in, out int, failed error) {
		c.in.Add(int64(in))
		c.flow.in.Add(int64(in))
		c.out.Add(int64(out))
		c.flow.out.Add(int64(out))
		c.fail(failed)
	}
}

// fail keeps the first error that the peer caused.
func (c *countedConn) fail(err error) {
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isTimeout(err) {
		c.failed.CompareAndSwap(nil, &err)
	}
}

// CloseWrite sends FIN.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("close the write side of a %T: %w", c.Conn, errors.ErrUnsupported)
}

// Misdirected asks the TLS session, if there is one.
func (c *countedConn) Misdirected(authority string) bool {
	session, ok := c.Conn.(misdirecter)
	return ok && session.Misdirected(authority)
}

// outcome is how the connection stands.
func (c *countedConn) outcome(block string) Outcome {
	o := Outcome{Block: block, BytesIn: c.in.Load(), BytesOut: c.out.Load()}
	if err := c.failed.Load(); err != nil {
		o.Result, o.Err = "failed", *err
	}
	return o
}

// isTimeout tells a deadline that a server set for its own purposes (http.Server interrupts its background read so).
func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
