package zmtp

import (
	"net"
	"syscall"
)

// tryWriter is a connection that can be written to without waiting: n < len(p) says that it is full. Connections that
// stand before a socket have this method where they can; errors.ErrUnsupported says that they cannot after all. One
// goroutine may be in it at a time, and none in Write.
type tryWriter interface {
	TryWrite(p []byte) (n int, err error)
}

// tryWriterOf finds how to write to nc without waiting; nil: there is no way.
func tryWriterOf(nc net.Conn) tryWriter {
	switch c := nc.(type) {
	case tryWriter:
		return c
	case *net.TCPConn:
		return newSocketWriter(c)
	case *net.UnixConn:
		return newSocketWriter(c)
	}
	return nil
}

// socketWriter writes to a socket without waiting.
type socketWriter struct {
	raw   syscall.RawConn
	write func(fd uintptr) (done bool) // is kept, so that nothing is allocated for each write

	p   []byte // to be written
	n   int    // written
	err error
}

func newSocketWriter(c syscall.Conn) tryWriter {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	w := &socketWriter{raw: raw}
	w.write = w.once
	return w
}

// TryWrite is tryWriter's.
func (w *socketWriter) TryWrite(p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	err := w.raw.Write(w.write)
	w.p = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}
