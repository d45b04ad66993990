package bridge

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gateway/internal/zmtp"
)

// errOnlyOne says that a full PUSH need not be waited for: the call is its one message, and a status says more.
var errOnlyOne = errors.New("the only message of its call")

// push carries a call by a PUSH: the reply, an empty message, says that all messages were handed over.
func (b *Backend) push(c call) error {
	if _, err := b.pushAll(c); err != nil {
		return err
	}
	return c.Send([]byte{})
}

// pushAll pushes each message. While the high-water mark is reached a stream waits, and gRPC's flow control with it; a call
// of one message fails.
func (b *Backend) pushAll(c call) (pushed uint64, err error) {
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	messages := make(chan *zmtp.Message)
	ended := make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			m := &zmtp.Message{}
			err := c.receive(m)
			if err == nil {
				select {
				case messages <- m:
					continue
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			if errors.Is(err, io.EOF) {
				err = nil
				if n == 1 {
					cancel(errOnlyOne)
				}
			}
			ended <- err
			return
		}
	}()
	for {
		select {
		case m := <-messages:
			if err := b.pushOne(ctx, c, m); err != nil {
				return pushed, err
			}
			pushed++
		case err := <-ended:
			return pushed, err
		}
	}
}

func (b *Backend) pushOne(ctx context.Context, c call, m *zmtp.Message) error {
	_, err := b.socket.Offer(c.Context(), m)
	if errors.Is(err, zmtp.ErrFull) {
		err = b.socket.Send(ctx, m)
	}
	if err != nil {
		return b.sendError(c.Context(), err)
	}
	return nil
}

// feeds are the calls that a SUB's messages go to.
type feeds struct {
	backend *Backend
	mu      sync.Mutex
	all     map[*feed]struct{}
}

// feed is one such call. What comes while it is full is dropped.
type feed struct {
	topics   [][]byte
	messages chan zmtp.Message
}

// feedMessagesMax bounds what waits for one caller, whatever the high-water mark: each message may be large.
const feedMessagesMax = 100

func (f *feeds) init(b *Backend) { f.backend, f.all = b, map[*feed]struct{}{} }

// subscribe carries a call by a SUB.
func (b *Backend) subscribe(c call) error {
	request, err := c.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	topic, err := topicOf(b.options.TopicField, request)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "the topic in field %d: %v", b.options.TopicField, err)
	}
	return b.feed(c, [][]byte{topic})
}

// feed hands a call what the topics bring, until it is cancelled.
func (b *Backend) feed(c call, topics [][]byte) error {
	if err := b.socket.Ready(c.Context()); err != nil {
		return b.sendError(c.Context(), err)
	}
	f := &feed{topics, make(chan zmtp.Message, min(b.options.QueueMessagesMax, feedMessagesMax))}
	b.feeds.enter(f)
	defer b.feeds.leave(f)
	for _, topic := range topics {
		if err := b.socket.Subscribe(topic); err != nil {
			return b.sendError(c.Context(), err)
		}
		defer func() { _ = b.socket.Cancel(topic) }() // fails only when closed
	}
	c.SendHeader() // the caller learns that it is subscribed
	for {
		select {
		case m := <-f.messages:
			at := 0
			if c.pair.reply.payload != Envelope && m.Len() == 2 {
				at = 1 // behind the topic
			}
			if ended, err := c.reply(&m, at); ended {
				return err
			}
		case <-c.Context().Done():
			return status.FromContextError(c.Context().Err()).Err()
		}
	}
}

func (f *feeds) enter(one *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[one] = struct{}{}
}

func (f *feeds) leave(one *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, one)
}

// receive hands a message to all calls that asked for it.
func (f *feeds) receive(_ *zmtp.Link, m *zmtp.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		if !one.wants(m.Part(0)) {
			continue
		}
		select {
		case one.messages <- m.Clone():
		default:
			f.backend.drop("slow caller")
		}
	}
}

func (f *feed) wants(first []byte) bool {
	for _, topic := range f.topics {
		if len(topic) <= len(first) && string(first[:len(topic)]) == string(topic) {
			return true
		}
	}
	return false
}
