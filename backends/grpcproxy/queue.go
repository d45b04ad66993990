package grpcproxy

import (
	"sync"
	"sync/atomic"
)

// blockBytes is the unit in which waiting bytes are held, and counted.
const blockBytes = 4 << 10

// block is a piece of a queue.
type block struct {
	next *block
	r, w int
	data [blockBytes - 24]byte
}

var blocks = sync.Pool{New: func() any { return new(block) }}

// budget bounds the bytes that all calls of a proxy hold back, and counts them in whole blocks.
type budget struct {
	max  int64
	used atomic.Int64
}

// tight is the share of the budget that is used, in 1/256.
func (b *budget) tight() int64 { return b.used.Load() << 8 / b.max }

// spent reports whether nothing more may be held.
func (b *budget) spent() bool { return b.used.Load() >= b.max }

// queue holds bytes in order. The zero queue is empty. The call's lock guards it.
type queue struct {
	head, tail *block
	len        int
}

// push copies p to the end.
func (q *queue) push(p []byte, b *budget) { push(q, p, b) }

// pushString copies s to the end.
func (q *queue) pushString(s string, b *budget) { push(q, s, b) }

func push[Bytes []byte | string](q *queue, p Bytes, b *budget) {
	q.len += len(p)
	for len(p) > 0 {
		if q.tail == nil || q.tail.w == len(q.tail.data) {
			next := blocks.Get().(*block)
			next.next, next.r, next.w = nil, 0, 0
			b.used.Add(blockBytes)
			if q.tail == nil {
				q.head = next
			} else {
				q.tail.next = next
			}
			q.tail = next
		}
		n := copy(q.tail.data[q.tail.w:], p)
		q.tail.w += n
		p = p[n:]
	}
}

// front returns the first bytes, empty only when the queue is.
func (q *queue) front() []byte {
	if q.head == nil {
		return nil
	}
	return q.head.data[q.head.r:q.head.w]
}

// drop forgets the first n bytes, n at most len(front()).
func (q *queue) drop(n int, b *budget) {
	q.len -= n
	q.head.r += n
	if q.head.r < q.head.w {
		return
	}
	first := q.head
	q.head = first.next
	if q.head == nil {
		q.tail = nil
	}
	b.used.Add(-blockBytes)
	blocks.Put(first)
}

// clear forgets everything.
func (q *queue) clear(b *budget) {
	for q.head != nil {
		q.drop(len(q.front()), b)
	}
}

// each calls f for the bytes after the first skip, in order.
func (q *queue) each(skip int, f func([]byte)) {
	for at := q.head; at != nil; at = at.next {
		p := at.data[at.r:at.w]
		if skip >= len(p) {
			skip -= len(p)
			continue
		}
		f(p[skip:])
		skip = 0
	}
}
