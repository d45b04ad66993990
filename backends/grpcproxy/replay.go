package grpcproxy

import (
	"encoding/binary"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// replayBytesMax is how much of a call is kept for another attempt: as much as grpc-go's clients keep. It is no less than
// streamWindow, because a call that waits for a connection keeps all that its caller may send.
const replayBytesMax = 256 << 10

// replay is a request as far as it has come. Its memory comes from the pool of queues: the usual call allocates nothing.
type replay struct {
	kept queue
	head int // bytes of kept that are the fields
}

// begin keeps the fields: each as one byte for sensitive, and two strings with their lengths.
func (r *replay) begin(fields []hpack.HeaderField, b *budget) {
	var size [binary.MaxVarintLen64]byte
	for i := range fields {
		f := &fields[i]
		sensitive := byte(0)
		if f.Sensitive {
			sensitive = 1
		}
		r.kept.push(append(size[:0], sensitive), b)
		for _, s := range [...]string{f.Name, f.Value} {
			r.kept.push(binary.AppendUvarint(size[:0], uint64(len(s))), b)
			r.kept.pushString(s, b)
		}
	}
	r.head = r.kept.len
}

// add keeps DATA. It reports false when the call has grown too large, or the budget too small.
func (r *replay) add(p []byte, b *budget) bool {
	if r.kept.len-r.head+len(p) > replayBytesMax || b.spent() {
		return false
	}
	r.kept.push(p, b)
	return true
}

func (r *replay) bodyBytes() int { return r.kept.len - r.head }

// eachBody calls f for the DATA, in order.
func (r *replay) eachBody(f func([]byte)) { r.kept.each(r.head, f) }

// fields returns the fields as begin got them.
func (r *replay) fields() []hpack.HeaderField {
	var whole strings.Builder
	r.kept.each(0, func(p []byte) { whole.Write(p) })
	rest := whole.String()[:r.head]
	text := func() string {
		n, size := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
		s := rest[size : size+int(n)]
		rest = rest[size+int(n):]
		return s
	}
	var fields []hpack.HeaderField
	for len(rest) > 0 {
		f := hpack.HeaderField{Sensitive: rest[0] == 1}
		rest = rest[1:]
		f.Name, f.Value = text(), text()
		fields = append(fields, f)
	}
	return fields
}

func (r *replay) clear(b *budget) {
	r.kept.clear(b)
	r.head = 0
}
