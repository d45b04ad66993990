package relay

import (
	"cmp"
	"sync"
	"sync/atomic"
)

// What the event loops hold of bytes that were read but not yet taken by the destination. A direction holds no buffer at
// all while its destination keeps up: a loop reads into a buffer of its own and writes from there.

const (
	// bufferBytes is how much one read takes at most. A GiB relayed with 512 KiB costs half the processor time that it
	// costs with 64 KiB: whatever gathers meanwhile goes on in one piece, with fewer segments, wake-ups and calls.
	bufferBytes = 512 << 10

	// A rest of up to smallRestBytes is copied into memory of its own size, one of up to restBytes into a buffer from a
	// pool; of a larger one the loop gives its own buffer away and takes another.
	smallRestBytes = 4 << 10
	restBytes      = 64 << 10

	// readAheadMax is how many bytes of one direction are held at most, see readsAhead.
	readAheadMax = 8 << 20

	// thriftyBytes is how much one read takes while all relays together hold more than their budget.
	thriftyBytes = 4 << 10

	buffersDefault = 256 << 20
)

var (
	heldBytes atomic.Int64 // by the backlogs of all relays
	heldMax   atomic.Int64
)

func init() { heldMax.Store(buffersDefault) }

// SetBuffersMax bounds the memory, in bytes, that all relays together may hold for destinations that do not keep up. When
// it is used up, relays go on, but each stalled direction holds 4 KiB at most. Default 256 MiB. It may be changed at any
// time; 0 is the default.
func SetBuffersMax(bytes int64) { heldMax.Store(cmp.Or(bytes, buffersDefault)) }

func thrifty() bool { return heldBytes.Load() >= heldMax.Load() }

// chunk is a buffer, and the bytes in it that were not taken yet: buf[lo:hi].
type chunk struct {
	next   *chunk
	buf    []byte
	lo, hi int
}

var (
	chunks      = sync.Pool{New: func() any { return &chunk{buf: make([]byte, bufferBytes)} }}
	chunksSmall = sync.Pool{New: func() any { return &chunk{buf: make([]byte, restBytes)} }}
)

func getChunk() *chunk { return chunks.Get().(*chunk) }

// putChunk gives a chunk back; those of other sizes are left to the garbage collector.
func putChunk(c *chunk) {
	*c = chunk{buf: c.buf}
	switch len(c.buf) {
	case bufferBytes:
		chunks.Put(c)
	case restBytes:
		chunksSmall.Put(c)
	}
}

// backlog is what one direction holds, oldest first. It is never empty: the direction that has delivered all drops it.
type backlog struct {
	head, tail *chunk
	bytes      int // capacity, which is what it costs
}

// rest makes a chunk of full.buf[lo:hi], and tells whether that is full itself, which then belongs to the backlog.
func rest(full *chunk, lo, hi int) (c *chunk, gaveFull bool) {
	switch n := hi - lo; {
	case n > restBytes:
		full.lo, full.hi = lo, hi
		return full, true
	case n > smallRestBytes:
		c = chunksSmall.Get().(*chunk)
	default:
		c = &chunk{buf: make([]byte, n)}
	}
	c.hi = copy(c.buf, full.buf[lo:hi])
	return c, false
}

func (b *backlog) push(c *chunk) {
	if b.tail == nil {
		b.head = c
	} else {
		b.tail.next = c
	}
	b.tail = c
	b.bytes += len(c.buf)
	heldBytes.Add(int64(len(c.buf)))
}

// room gives a chunk with space for one more read at its end: the last one, or a new one, which the caller pushes when it
// has read something.
func (b *backlog) room() (c *chunk, isNew bool) {
	if len(b.tail.buf)-b.tail.hi >= thriftyBytes {
		return b.tail, false
	}
	return getChunk(), true
}

// take removes n bytes from the front and tells whether there are more.
func (b *backlog) take(n int) (more bool) {
	c := b.head
	c.lo += n
	if c.lo < c.hi {
		return true
	}
	b.head = c.next
	if b.head == nil {
		b.tail = nil
	}
	b.bytes -= len(c.buf)
	heldBytes.Add(-int64(len(c.buf)))
	putChunk(c)
	return b.head != nil
}

// drop removes everything.
func (b *backlog) drop() {
	for b.take(b.head.hi - b.head.lo) {
	}
}
