package zmtp

import (
	"fmt"
	"maps"
	"slices"
)

// topicBytesMax bounds what the topics of one subscriber take.
const topicBytesMax = 1 << 20

// topicSet is a set of topics, each counted. A message matches if its first part starts with one of them. The zero value
// is empty.
type topicSet struct {
	counts  map[string]int
	lengths []topicLength // in rising order
	bytes   int
}

// topicLength counts topics of one length: as many look-ups as there are lengths find a match.
type topicLength struct{ length, topics int }

// add counts topic once more and says whether it is new.
func (t *topicSet) add(topic []byte) bool {
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[string(topic)]++
	if t.counts[string(topic)] > 1 {
		return false
	}
	t.bytes += len(topic)
	at, found := t.length(len(topic))
	if !found {
		t.lengths = slices.Insert(t.lengths, at, topicLength{length: len(topic)})
	}
	t.lengths[at].topics++
	return true
}

// remove takes one count back and says whether it was the last. known: it was there at all.
func (t *topicSet) remove(topic []byte) (last, known bool) {
	switch t.counts[string(topic)] {
	case 0:
		return false, false
	case 1:
		delete(t.counts, string(topic))
		t.bytes -= len(topic)
		at, _ := t.length(len(topic))
		if t.lengths[at].topics--; t.lengths[at].topics == 0 {
			t.lengths = slices.Delete(t.lengths, at, at+1)
		}
		return true, true
	}
	t.counts[string(topic)]--
	return false, true
}

func (t *topicSet) length(n int) (at int, found bool) {
	return slices.BinarySearchFunc(t.lengths, n, func(l topicLength, n int) int { return l.length - n })
}

func (t *topicSet) match(first []byte) bool {
	for _, l := range t.lengths {
		if l.length > len(first) {
			return false
		}
		if _, there := t.counts[string(first[:l.length])]; there {
			return true
		}
	}
	return false
}

// Subscribe asks all publishers, those to come too, for messages whose first part starts with topic. Subscriptions are
// counted: each Subscribe takes a Cancel of its own.
func (s *Socket) Subscribe(topic []byte) error {
	return s.changeTopics(func() { s.topics.add(topic) })
}

// Cancel takes one Subscribe of this topic back.
func (s *Socket) Cancel(topic []byte) error {
	return s.changeTopics(func() { s.topics.remove(topic) })
}

func (s *Socket) changeTopics(change func()) error {
	if s.options.SocketType != SUB {
		return fmt.Errorf("zmtp: subscribe: a %s cannot", s.options.SocketType)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	change()
	for _, l := range s.links {
		s.tellTopics(l)
	}
	return nil
}

// tellTopics sees to it that l's peer learns of what changed. A goroutine does it, as a peer may not read. s.mu is held.
func (s *Socket) tellTopics(l *Link) {
	if s.options.SocketType == SUB && !l.telling {
		l.telling = true
		s.tasks.Go(l.tell)
	}
}

// tellBatch is how many differences are looked for at a time: each look goes through all topics.
const tellBatch = 256

// difference is a topic of which the peer does not know yet that it is wanted or, with cancel, that it is not any more.
type difference struct {
	topic  string
	cancel bool
}

// tell tells the peer one difference after the other, until there is none or the connection has ended.
func (l *Link) tell() {
	batch := make([]difference, 0, tellBatch)
	for {
		batch = l.differences(batch[:0])
		if len(batch) == 0 {
			return
		}
		for _, d := range batch {
			send := l.conn.Subscribe
			if d.cancel {
				send = l.conn.Cancel
			}
			if err := send(l.socket.lifetime, []byte(d.topic)); err != nil {
				return // the reader learns of it too; telling stays true
			}
		}
	}
}

// differences appends to batch, up to its capacity, topics of which the peer does not know yet, and notes that it does.
func (l *Link) differences(batch []difference) []difference {
	s := l.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic := range l.topics.counts {
		if s.topics.counts[topic] == 0 && len(batch) < cap(batch) {
			l.topics.remove([]byte(topic))
			batch = append(batch, difference{topic, true})
		}
	}
	if len(l.topics.counts) < len(s.topics.counts) {
		for topic := range s.topics.counts {
			if l.topics.counts[topic] == 0 && len(batch) < cap(batch) {
				l.topics.add([]byte(topic))
				batch = append(batch, difference{topic, false})
			}
		}
	}
	l.telling = len(batch) > 0
	return batch
}

// wants says whether a SUB still asks for m.
func (s *Socket) wants(m *Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics.match(m.Part(0))
}

// wish notes what a subscriber asks a PUB for. Messages to a PUB mean nothing.
func (s *Socket) wish(l *Link, m *Message) error {
	if m.Kind() == KindMessage {
		return nil
	}
	topic := m.Part(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Kind() == KindCancel {
		if last, _ := l.topics.remove(topic); last {
			s.unwish(topic)
		}
		return nil
	}
	if len(l.topics.counts) >= s.options.TopicsMax || l.topics.bytes+len(topic) > topicBytesMax {
		return inStep(StepTraffic, malformed(ReasonTooLarge, "more than %d topics or %d bytes of them", s.options.TopicsMax, topicBytesMax))
	}
	if l.topics.add(topic) && s.topics.add(topic) && s.options.Subscribed != nil {
		s.options.Subscribed(slices.Clone(topic), true)
	}
	return nil
}

// unwish notes that one subscriber less asks for topic. s.mu is held.
func (s *Socket) unwish(topic []byte) {
	if last, _ := s.topics.remove(topic); last && s.options.Subscribed != nil {
		s.options.Subscribed(slices.Clone(topic), false)
	}
}

// forgetWishes takes back all that l asked for. s.mu is held.
func (s *Socket) forgetWishes(l *Link) {
	for _, topic := range slices.Collect(maps.Keys(l.topics.counts)) {
		s.unwish([]byte(topic))
	}
	l.topics = topicSet{}
}
