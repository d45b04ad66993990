package zmtp

import "slices"

// Kind tells messages from what a subscriber asks of a publisher.
type Kind uint8

// The kinds of what Recv returns.
const (
	KindMessage   Kind = iota
	KindSubscribe      // the single part is a topic: send what starts with it
	KindCancel         // the single part is a topic: take one subscription to it back
)

// spansInline is how many parts a message can have without an allocation for the bookkeeping.
const spansInline = 4

// slabKeepBytesMax is how much memory Reset keeps for the next message.
const slabKeepBytesMax = 1 << 20

// Message is a multipart message whose parts lie in one piece of memory, which is used again: Recv into the same Message
// allocates nothing once it has grown. The zero value is an empty message. A part returned by Part is valid until the
// message is reset or received into; Clone makes a copy that lasts, with one allocation.
type Message struct {
	kind  Kind
	parts int
	slab  []byte
	first [spansInline]span
	rest  []span
}

// span is where a part lies in the slab. Parts need not touch: under CURVE a byte of flags lies between them.
type span struct{ start, end int }

// NewMessage makes a message of copies of these parts.
func NewMessage(parts ...[]byte) *Message {
	m := &Message{}
	for _, p := range parts {
		m.Append(p)
	}
	return m
}

// Kind says what the message is.
func (m *Message) Kind() Kind { return m.kind }

// Len is the number of parts.
func (m *Message) Len() int { return m.parts }

// Bytes is the size of all parts together.
func (m *Message) Bytes() int {
	n := 0
	for i := range m.parts {
		n += len(m.Part(i))
	}
	return n
}

// Part returns part i, 0 <= i < Len. It aliases the message.
func (m *Message) Part(i int) []byte {
	s := m.span(i)
	return m.slab[s.start:s.end:s.end]
}

// Parts returns all parts in a new slice; they alias the message.
func (m *Message) Parts() [][]byte {
	parts := make([][]byte, m.parts)
	for i := range parts {
		parts[i] = m.Part(i)
	}
	return parts
}

// Append adds a copy of part.
func (m *Message) Append(part []byte) {
	start := len(m.slab)
	m.slab = append(m.slab, part...)
	m.addSpan(start)
}

// Reset empties the message and keeps its memory, up to 1 MiB.
func (m *Message) Reset() {
	m.kind, m.parts, m.slab, m.rest = KindMessage, 0, m.slab[:0], m.rest[:0]
	if cap(m.slab) > slabKeepBytesMax {
		m.slab = nil
	}
}

// Clone returns a copy with memory of its own.
func (m *Message) Clone() Message {
	c := *m
	c.slab, c.rest = slices.Clone(m.slab), slices.Clone(m.rest)
	return c
}

func (m *Message) span(i int) span {
	if i >= m.parts {
		panic("zmtp: no such part")
	}
	if i < spansInline {
		return m.first[i]
	}
	return m.rest[i-spansInline]
}

// addSpan makes a part of what was appended to the slab since start.
func (m *Message) addSpan(start int) {
	s := span{start, len(m.slab)}
	if m.parts < spansInline {
		m.first[m.parts] = s
	} else {
		m.rest = append(m.rest, s)
	}
	m.parts++
}

// becomeSubscription turns a message into what it asks a publisher for, if that is what it is.
func (m *Message) becomeSubscription() {
	if m.parts != 1 {
		return
	}
	if s, ok := ParseSubscriptionMessage(m.Part(0)); ok {
		m.kind = subscriptionKind(s)
		m.first[0].start++
	}
}

func subscriptionKind(s Subscription) Kind {
	if s.Cancel {
		return KindCancel
	}
	return KindSubscribe
}
