package grpcproxy

import "encoding/binary"

// messageHeaderBytes precede every gRPC message: a flag for compression and four bytes of length.
const messageHeaderBytes = 5

// meter follows the messages in a stream of DATA without holding any of it back. The zero meter is at a message's start.
type meter struct {
	left int64 // bytes of the running message that are still to come
	head [messageHeaderBytes]byte
	got  uint8 // bytes of head
}

// pass follows p. It returns how many messages began in it, and the size of the largest of these.
func (m *meter) pass(p []byte) (begun int, largest int64) {
	for len(p) > 0 {
		if m.left > 0 {
			n := min(m.left, int64(len(p)))
			m.left -= n
			p = p[n:]
			continue
		}
		n := copy(m.head[m.got:], p)
		m.got += uint8(n)
		p = p[n:]
		if m.got == messageHeaderBytes {
			m.got = 0
			m.left = int64(binary.BigEndian.Uint32(m.head[1:]))
			largest = max(largest, m.left)
			begun++
		}
	}
	return begun, largest
}
