package bridge

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gateway/internal/zmtp"
)

// Pauses before a SUB client's stream is asked for again, after UNAVAILABLE.
const (
	resubscribeMin = 100 * time.Millisecond
	resubscribeMax = 5 * time.Second
)

// clientStream is the call that a client's messages go to. The client's reader sends; a goroutine of its own receives.
type clientStream struct {
	*CallStream
	pair     *codecPair
	cancel   context.CancelCauseFunc
	envelope *zmtp.Message // of the first message: it goes before all that the client gets
	ended    chan struct{} // closed when the call has its status
	told     chan struct{} // closed when the client of a bidirectional stream was told of it
}

// open begins a stream.
func (c *client) open(plan *Plan) (*clientStream, error) {
	pair, err := plan.codecs.get(c.ctx)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	stream, err := plan.Calls.NewStream(ctx, plan.Method)
	if err != nil {
		cancel(err)
		return nil, err
	}
	return &clientStream{CallStream: stream, pair: pair, cancel: cancel, ended: make(chan struct{}), told: make(chan struct{})}, nil
}

// over says whether the stream takes no more messages.
func (s *clientStream) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// routed takes a message to a ROUTER.
func (c *client) routed(from *zmtp.Link, m *zmtp.Message) {
	plan := c.inlet.plan.Load()
	if !plan.Stream {
		c.request(from, m)
		return
	}
	c.heard()
	if c.stream == nil || c.stream.over() {
		envelope := envelopeOf(m, envelopeLen(m))
		stream, err := c.open(plan)
		if err != nil {
			c.inlet.called(err)
			c.answerStatus(from, envelope, status.Convert(err))
			return
		}
		stream.envelope = envelope
		if !c.keepStream(stream) {
			stream.cancel(nil)
			c.answerStatus(from, envelope, statusStopping)
			return
		}
		c.asked.Add(1)
		go c.receive(from, stream)
	}
	c.pass(m)
}

// keepStream makes s the client's stream, and reports false when the client gets none any more.
func (c *client) keepStream(s *clientStream) bool {
	c.streamMu.Lock()
	defer c.streamMu.Unlock()
	select {
	case <-c.stopping:
		return false
	default:
		c.stream = s
		return true
	}
}

// drainStream ends the client's part of its bidirectional stream, and waits until all that the service answers is sent.
func (c *client) drainStream(ctx context.Context) error {
	c.streamMu.Lock()
	s := c.stream
	c.streamMu.Unlock()
	if s == nil {
		return nil
	}
	s.CloseSend()
	return awaitEnd(ctx, s.told)
}

// pass sends a message of a bidirectional stream. It waits for gRPC's flow control.
func (c *client) pass(m *zmtp.Message) {
	s := c.stream
	at := 0
	if s.envelope.Len() > 0 {
		at = envelopeLen(m)
	}
	if st, is := statusOf(m, at); is {
		if st.Code() == codes.OK {
			s.CloseSend()
		} else {
			s.cancel(status.Error(codes.Canceled, "the client has cancelled the stream"))
		}
		return
	}
	data, err := s.pair.request.toCall(m, at)
	if err != nil {
		s.cancel(status.Error(codes.InvalidArgument, err.Error()))
		return
	}
	_ = s.Send(data) // the receiver learns of what is wrong
}

// receive brings what a bidirectional stream answers, and its end.
func (c *client) receive(to *zmtp.Link, s *clientStream) {
	defer c.asked.Done()
	defer close(s.told)
	defer s.cancel(nil)
	for {
		answer, err := s.Recv()
		if err == nil {
			reply := cloneOf(s.envelope)
			err = s.pair.reply.toFrames(reply, answer)
			if err == nil {
				c.answer(to, reply)
				continue
			}
			err = status.Errorf(codes.Internal, "the reply: %v", err)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		} else if cause := context.Cause(s.Context()); status.Code(err) == codes.Canceled && cause != nil {
			err = cause
		}
		c.inlet.called(err)
		close(s.ended) // before the client learns of it: what it sends then begins the next stream
		c.answerStatus(to, cloneOf(s.envelope), status.Convert(err))
		return
	}
}

func cloneOf(m *zmtp.Message) *zmtp.Message {
	c := m.Clone()
	return &c
}

// pulled takes a message that nobody waits for a reply to. Waiting here is how the client learns to wait.
func (c *client) pulled(_ *zmtp.Link, m *zmtp.Message) {
	c.heard()
	plan := c.inlet.plan.Load()
	if plan.Stream {
		c.pour(plan, m)
		return
	}
	err := c.pullOne(plan, m)
	c.inlet.called(err)
	if err != nil {
		c.inlet.counts.drop(status.Code(err).String())
	}
}

// pullOne makes a call of a message, and waits for its end.
func (c *client) pullOne(plan *Plan, m *zmtp.Message) error {
	ctx, cancel := context.WithTimeout(c.ctx, plan.Timeout)
	defer cancel()
	pair, err := plan.codecs.get(ctx)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	data, err := pair.request.toCall(m, 0)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	answer, err := plan.Calls.Invoke(ctx, plan.Method, data)
	if err != nil {
		return err
	}
	return pair.replyTo(&zmtp.Message{}, answer) // nobody gets it, but it is to be well-formed
}

// pour sends a message of a client stream. One that a stream did not take, as it had ended, begins the next.
func (c *client) pour(plan *Plan, m *zmtp.Message) {
	for fresh := false; !fresh; {
		if c.stream == nil {
			stream, err := c.open(plan)
			if err != nil {
				c.inlet.called(err)
				c.inlet.counts.drop(status.Code(err).String())
				return
			}
			c.stream, fresh = stream, true
		}
		data, err := c.stream.pair.request.toCall(m, 0)
		if err != nil {
			c.inlet.counts.drop(codes.InvalidArgument.String())
			return
		}
		if c.stream.Send(data) == nil {
			return
		}
		c.closeStream()
	}
	c.inlet.counts.drop(codes.Unavailable.String())
}

// closeStream ends a client stream, and waits for its reply.
func (c *client) closeStream() {
	s := c.stream
	if s == nil {
		return
	}
	c.stream = nil
	defer s.cancel(nil)
	defer time.AfterFunc(c.inlet.plan.Load().Timeout, func() { s.cancel(context.DeadlineExceeded) }).Stop()
	s.CloseSend()
	_, err := s.Recv()
	if err == nil {
		_, err = s.Recv()
	} else if errors.Is(err, io.EOF) {
		err = status.Error(codes.Internal, "the stream was answered without a message")
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	c.inlet.called(err)
}

// subscribed begins the stream of a topic, or ends it. It is called with the socket's lock held.
func (c *client) subscribed(topic []byte, wanted bool) {
	c.topicLock.Lock()
	defer c.topicLock.Unlock()
	if !wanted {
		if cancel := c.topics[string(topic)]; cancel != nil {
			cancel()
			delete(c.topics, string(topic))
		}
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	c.topics[string(topic)] = cancel
	c.inlet.counts.in.Inc()
	c.from.Spoke()
	c.asked.Add(1)
	go func() {
		defer c.asked.Done()
		defer cancel()
		c.feed(ctx, topic)
	}()
}

// feed publishes what the stream of a topic brings. A stream that ended well stays ended, as a PUB's does: to begin it
// again would repeat it. One that could not be reached is asked for again.
func (c *client) feed(ctx context.Context, topic []byte) {
	for wait := resubscribeMin; ; wait = min(2*wait, resubscribeMax) {
		err := c.feedOnce(ctx, topic)
		if ctx.Err() != nil {
			return
		}
		c.inlet.called(err)
		if status.Code(err) != codes.Unavailable || !pause(ctx, wait) {
			return
		}
	}
}

func (c *client) feedOnce(ctx context.Context, topic []byte) error {
	plan := c.inlet.plan.Load()
	pair, err := plan.codecs.get(ctx)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	request := topicRequest(plan.TopicField, topic)
	if plan.Payload == Envelope {
		request = topicRequest(framesField, topic)
	}
	stream, err := plan.Calls.NewStream(ctx, plan.Method)
	if err != nil {
		return err
	}
	_ = stream.Send(request) // receiving tells what is wrong
	stream.CloseSend()
	for {
		answer, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		m := &zmtp.Message{}
		if plan.Payload != Envelope {
			m.Append(topic)
		}
		if err := pair.reply.toFrames(m, answer); err != nil {
			return status.Errorf(codes.Internal, "a message of the stream: %v", err)
		}
		c.publish(m)
	}
}

// publish gives the client a message, or drops it when the client is too slow.
func (c *client) publish(m *zmtp.Message) {
	if err := c.socket.TrySend(m); err != nil {
		c.inlet.counts.drop("slow subscriber")
		return
	}
	c.inlet.counts.out.Inc()
}

// pause waits, and says whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
