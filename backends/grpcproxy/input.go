package grpcproxy

// Rules of this file.
//
// One goroutine, the connection's reader, uses an input. What next returns lies in the input's buffer and is valid until
// the next fill. A connection that is waiting for bytes holds no buffer, unless a frame has arrived in part: the buffer
// is taken from the pool when the descriptor is readable. That needs the descriptor itself; TLS and connections in
// memory keep their buffer.

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/net/http2"
)

// inputBytes is how much one read may bring: several of the largest frames.
const inputBytes = 64 << 10

var inputBuffers = sync.Pool{New: func() any { return new([inputBytes]byte) }}

// input reads frames.
type input struct {
	conn net.Conn
	raw  syscall.RawConn              // nil: conn is read
	read func(fd uintptr) (done bool) // readFD, made once: a method value at each read would allocate
	buf  *[inputBytes]byte            // nil when there is nothing in it
	r, w int                          // buf[r:w] is not yet given out
	err  error                        // of readFD
}

func newInput(conn net.Conn, raw syscall.RawConn, prefix []byte) *input {
	in := &input{conn: conn, raw: raw}
	in.read = in.readFD
	if len(prefix) > 0 {
		in.buf = inputBuffers.Get().(*[inputBytes]byte)
		in.w = copy(in.buf[:], prefix)
	}
	return in
}

// fill waits for more bytes. The bytes that next has given out are gone afterwards.
func (in *input) fill() error {
	if in.buf != nil && in.r > 0 {
		in.w = copy(in.buf[:], in.buf[in.r:in.w])
		in.r = 0
	}
	if in.raw == nil {
		return in.fillBlocking()
	}
	if in.w == 0 {
		in.release()
	}
	in.err = nil
	if err := in.raw.Read(in.read); err != nil {
		return err
	}
	return in.err
}

func (in *input) fillBlocking() error {
	if in.buf == nil {
		in.buf = inputBuffers.Get().(*[inputBytes]byte)
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// readFD reports false to be called again when the descriptor is readable.
func (in *input) readFD(fd uintptr) bool {
	if in.buf == nil {
		in.buf = inputBuffers.Get().(*[inputBytes]byte)
	}
	for {
		n, err := syscall.Read(int(fd), in.buf[in.w:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if in.w == 0 {
				in.release()
			}
			return false
		case err != nil:
			in.err = os.NewSyscallError("read", err)
		case n == 0:
			in.err = io.EOF
		default:
			in.w += n
		}
		return true
	}
}

// next returns the next frame that is there whole.
func (in *input) next() (h frameHeader, payload []byte, ok bool, err error) {
	if in.w-in.r < frameHeaderBytes {
		return frameHeader{}, nil, false, nil
	}
	h = parseFrameHeader(in.buf[in.r:])
	if h.length > frameBytesMax {
		return h, nil, false, connError{http2.ErrCodeFrameSize, "a frame larger than SETTINGS_MAX_FRAME_SIZE"}
	}
	end := in.r + frameHeaderBytes + int(h.length)
	if end > in.w {
		return h, nil, false, nil
	}
	payload = in.buf[in.r+frameHeaderBytes : end]
	in.r = end
	return h, payload, true, nil
}

// partial reports whether a frame has begun and not ended.
func (in *input) partial() bool { return in.w > in.r }

// take returns the next n bytes, n at most inputBytes, waiting for them.
func (in *input) take(n int) ([]byte, error) {
	for in.w-in.r < n {
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	p := in.buf[in.r : in.r+n]
	in.r += n
	return p, nil
}

// release gives the buffer back; what is in it is lost.
func (in *input) release() {
	if in.buf != nil {
		inputBuffers.Put(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}
