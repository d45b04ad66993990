package config

const (
	heldMax      = 1 << 20
	perSecondMax = 1_000_000
	buffersMax   = 1 << 40 // more than the memory of most machines
)

// limits reads the limits block; nil is the block left out.
func (r *reader) limits(b *limitsSchema) Limits {
	if b == nil {
		return Limits{}
	}
	var l Limits
	l.PerSource, _ = r.count(b.PerSource, 1, connectionsMax)
	l.NewPerSource, _ = r.count(b.NewPerSource, 1, perSecondMax)
	l.Held, _ = r.count(b.Held, 1, heldMax)
	l.Buffers = r.size(b.Buffers, buffersMax)
	return l
}
