package grpcproxy

// Rules of this file.
//
// An input is its connection's reader's. What next returns lies in the input's buffer and is valid until bytes are read
// again. A connection on an event loop that is waiting for bytes holds no buffer, unless a frame has arrived in part; TLS
// and connections in memory keep theirs.

import (
	"net"
	"sync"

	"golang.org/x/net/http2"
)

// inputBytes is how much one read may bring: several of the largest frames.
const inputBytes = 64 << 10

var inputBuffers = sync.Pool{New: func() any { return new([inputBytes]byte) }}

// input reads frames.
type input struct {
	conn net.Conn          // what fill reads
	buf  *[inputBytes]byte // nil when there is nothing in it
	r, w int               // buf[r:w] is not yet given out
}

func newInput(conn net.Conn, prefix []byte) *input {
	in := &input{conn: conn}
	if len(prefix) > 0 {
		in.w = copy(in.room(), prefix)
	}
	return in
}

// room is where the next bytes go. The bytes that next has given out are gone afterwards. There is room: what is left of
// a frame is less than the largest.
func (in *input) room() []byte {
	if in.buf == nil {
		in.buf = inputBuffers.Get().(*[inputBytes]byte)
	}
	if in.r > 0 {
		in.w = copy(in.buf[:], in.buf[in.r:in.w])
		in.r = 0
	}
	return in.buf[in.w:]
}

// fill waits for more bytes.
func (in *input) fill() error {
	n, err := in.conn.Read(in.room())
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// recv takes what has come, which may be nothing.
func (in *input) recv(from socket) (n int, err error) {
	n, err = from.recv(in.room())
	in.w += n
	return n, err
}

// rest gives the buffer back if there is nothing in it.
func (in *input) rest() {
	if in.r == in.w {
		in.release()
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

// gather joins to a DATA frame the next ones of its stream, as far as they are there whole and fit into one frame: where one
// ends and another begins has no meaning (section 6.1), but each costs whoever handles it. Padded frames stay alone, and so
// do empty ones, which are counted.
func (in *input) gather(h frameHeader, payload []byte) (frameHeader, []byte) {
	if len(payload) == 0 || h.has(http2.FlagDataPadded) {
		return h, payload
	}
	begin, end := in.r-len(payload), in.r // of the joined payload
	for !h.has(http2.FlagDataEndStream) && in.w-in.r >= frameHeaderBytes {
		next := parseFrameHeader(in.buf[in.r:])
		from, length := in.r+frameHeaderBytes, int(next.length)
		if next.kind != http2.FrameData || next.stream != h.stream || next.has(http2.FlagDataPadded) || length == 0 ||
			end-begin+length > frameBytesMax || from+length > in.w {
			break
		}
		end += copy(in.buf[end:], in.buf[from:from+length])
		in.r = from + length
		h.flags |= next.flags & http2.FlagDataEndStream
	}
	h.length = uint32(end - begin)
	return h, in.buf[begin:end]
}

// partial reports whether a frame has begun and not ended.
func (in *input) partial() bool { return in.w > in.r }

// take returns the next n bytes, or nil when they are not there yet.
func (in *input) take(n int) []byte {
	if in.w-in.r < n {
		return nil
	}
	p := in.buf[in.r : in.r+n]
	in.r += n
	return p
}

// release gives the buffer back; what is in it is lost.
func (in *input) release() {
	if in.buf != nil {
		inputBuffers.Put(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}
