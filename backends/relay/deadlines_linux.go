package relay

import "time"

// deadlines is a binary heap of the pairs of one loop that have something to watch for, the next look first. It is touched
// when a relay starts, ends, or changes its phase, and at looks: never for a message.
type deadlines []deadline

type deadline struct {
	due  time.Duration // on the loop's clock
	pair *pair
}

// next tells when the next look is due.
func (d deadlines) next() (due time.Duration, any bool) {
	if len(d) == 0 {
		return 0, false
	}
	return d[0].due, true
}

// set enters p, or moves it to where its due time belongs.
func (d *deadlines) set(p *pair, due time.Duration) {
	if p.place < 0 {
		p.place = int32(len(*d))
		*d = append(*d, deadline{pair: p})
	}
	(*d)[p.place].due = due
	d.down(int(p.place))
	d.up(int(p.place))
}

// remove takes p out, if it is in.
func (d *deadlines) remove(p *pair) {
	i := int(p.place)
	if i < 0 {
		return
	}
	p.place = -1
	last := len(*d) - 1
	moved := (*d)[last]
	(*d)[last] = deadline{}
	*d = (*d)[:last]
	if moved.pair != p {
		(*d)[i] = moved
		moved.pair.place = int32(i)
		d.down(i)
		d.up(int(moved.pair.place))
	}
}

func (d deadlines) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if d[parent].due <= d[i].due {
			return
		}
		d.swap(i, parent)
		i = parent
	}
}

func (d deadlines) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(d); child++ {
			if d[child].due < d[least].due {
				least = child
			}
		}
		if least == i {
			return
		}
		d.swap(i, least)
		i = least
	}
}

func (d deadlines) swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].pair.place, d[j].pair.place = int32(i), int32(j)
}
