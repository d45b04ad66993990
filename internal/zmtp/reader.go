package zmtp

import (
	"io"
	"slices"
)

// Memory follows the bytes that came, never the size that was announced: a frame that announces 2^62 bytes is refused by
// its header, one that announces what is allowed gets growStartBytes and then at most as much again as has arrived.

// growStartBytes is how much room a body gets before its first byte has come; larger bodies grow from there.
const growStartBytes = 64 << 10

// handshakeGrowBytes is the same for commands of the handshake, when nothing is known of the peer yet.
const handshakeGrowBytes = 512

// reader reads frames from a connection through a buffer. It belongs to one goroutine.
type reader struct {
	from io.Reader
	buf  []byte
	r, w int // buf[r:w] was read and not used
}

// header reads the next frame's header. io.EOF means that the stream ended between two frames.
func (r *reader) header() (FrameHeader, error) {
	for {
		h, n, err := ParseFrameHeader(r.buf[r.r:r.w])
		if err != nil || n > 0 {
			r.r += n
			return h, err
		}
		if err := r.more(); err != nil {
			return h, cutOff(err, r.w-r.r)
		}
	}
}

// body appends n bytes of the stream to dst. What lies in the buffer is copied; the rest of a large body is read into
// place.
func (r *reader) body(dst []byte, n int) ([]byte, error) {
	dst = slices.Grow(dst, min(n, growStartBytes))
	for n > 0 {
		if have := min(n, r.w-r.r); have > 0 {
			dst = append(dst, r.buf[r.r:r.r+have]...)
			r.r += have
			n -= have
			continue
		}
		if n >= len(r.buf) {
			var err error
			if dst, err = appendRead(dst, r.from, n, growStartBytes); err != nil {
				return dst, cutOff(err, 1)
			}
			return dst, nil
		}
		if err := r.more(); err != nil {
			return dst, cutOff(err, 1)
		}
	}
	return dst, nil
}

// more reads at least one byte into the buffer.
func (r *reader) more() error {
	if r.r == r.w {
		r.r, r.w = 0, 0
	} else if r.w == len(r.buf) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	n, err := r.from.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// appendRead appends exactly n bytes of from to dst and lets dst grow by no more than what came, growBytes at least.
func appendRead(dst []byte, from io.Reader, n, growBytes int) ([]byte, error) {
	start := len(dst)
	for n > 0 {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, min(n, max(growBytes, len(dst)-start)))
		}
		got, err := from.Read(dst[len(dst):min(cap(dst), len(dst)+n)])
		dst, n = dst[:len(dst)+got], n-got
		if err != nil && n > 0 {
			return dst, cutOff(err, len(dst)-start)
		}
		if got == 0 && n > 0 {
			return dst, io.ErrNoProgress
		}
	}
	return dst, nil
}

// readCommand appends one command frame to buf, reading not a byte more, and returns it and its body, of at most
// bytesMax.
func readCommand(from io.Reader, buf []byte, bytesMax int) (all, body []byte, err error) {
	start := len(buf)
	h, n, err := FrameHeader{}, 0, error(nil)
	for need := 2; n == 0; need = frameHeaderBytesMax {
		if buf, err = appendRead(buf, from, start+need-len(buf), handshakeGrowBytes); err != nil {
			return buf, nil, err
		}
		if h, n, err = ParseFrameHeader(buf[start:]); err != nil {
			return buf, nil, err
		}
	}
	if !h.Command() {
		return buf, nil, malformed(ReasonCommand, "a message where a command is due")
	}
	if h.Size > uint64(bytesMax) {
		return buf, nil, malformed(ReasonTooLarge, "a command of %d bytes, at most %d", h.Size, bytesMax)
	}
	if buf, err = appendRead(buf, from, int(h.Size), handshakeGrowBytes); err != nil {
		return buf, nil, cutOff(err, 1)
	}
	return buf, buf[start+n:], nil
}
