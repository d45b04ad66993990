package sockjs

// outbox holds what waits for one browser: the text of the next array frame or, raw, the messages as they are. Its memory
// is used again. What take returned is valid until the next take.
type outbox struct {
	raw     bool
	waiting int // messages
	slab    []byte
	spare   []byte // the slab before, which the receiver may still be writing
	ends    []int  // raw: where in the slab each message ends
	next    int    // raw: the message to take next
}

// slabKeepBytesMax is how much memory an outbox keeps for what may come.
const slabKeepBytesMax = 16 << 10

// bytes is what waits, as it will be sent.
func (o *outbox) bytes() int { return len(o.slab) - o.taken() }

// taken is where in the slab the first message begins that was not taken.
func (o *outbox) taken() int {
	if o.next == 0 {
		return 0
	}
	return o.ends[o.next-1]
}

func (o *outbox) add(data []byte) {
	o.waiting++
	if o.raw {
		o.slab = append(o.slab, data...)
		o.ends = append(o.ends, len(o.slab))
		return
	}
	if len(o.slab) == 0 {
		o.slab = append(o.slab, arrayOpen...)
	} else {
		o.slab = append(o.slab, ',')
	}
	o.slab = appendString(o.slab, data, false)
}

// take returns the array frame of all that waits or, raw, the next message; nil when nothing waits.
func (o *outbox) take() []byte {
	if o.raw {
		return o.takeMessage()
	}
	if len(o.slab) == 0 {
		return nil
	}
	o.waiting = 0
	frame := append(o.slab, arrayClose...)
	o.slab, o.spare = o.spare[:0], frame
	if cap(frame) > slabKeepBytesMax {
		o.spare = nil
	}
	return frame
}

func (o *outbox) takeMessage() []byte {
	if o.next == len(o.ends) {
		o.clear()
		return nil
	}
	start := o.taken()
	end := o.ends[o.next]
	o.next++
	o.waiting--
	return o.slab[start:end:end]
}

// clear drops what waits. What was taken stays valid: memory is used again by the next add at the earliest, and then the
// receiver has come back for more.
func (o *outbox) clear() {
	o.waiting, o.slab, o.ends, o.next = 0, o.slab[:0], o.ends[:0], 0
	if cap(o.slab) > slabKeepBytesMax {
		o.slab = nil
	}
}
