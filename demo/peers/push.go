package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

// Push connects a ZeroMQ PUSH client and sends until its count is reached or ctx ends. A connection that breaks is made
// again and the message that it interrupted is sent again; messages that left earlier may be lost with it, as with any PUSH.
func Push(ctx context.Context, c Client, report Report) error {
	c, err := c.complete("push")
	if err != nil {
		return err
	}
	p := &pusher{Client: c, report: report}
	late, cancel := outlive(ctx)
	defer cancel()
	err = p.eachMessage(ctx, func(seq int) error {
		// Two steps, since the first may end with ctx in peace, while a message that was told must go through.
		if err := p.untilDone(ctx, func() error { return p.reach(ctx) }); err != nil {
			return stopped(ctx, err)
		}
		report(Event{Peer: p.Name, Kind: Sent, Seq: seq, Text: greeting(p.Name)})
		if err := p.untilDone(late, func() error { return p.send(late, seq) }); err != nil {
			return fmt.Errorf("message %d was not sent: %w", seq, err)
		}
		return nil
	})
	return errors.Join(err, p.close())
}

// greeting is what the demo's clients say.
func greeting(name string) string { return "Hello from " + name }

var errClosed = errors.New("the far side closed the connection")

type pusher struct {
	Client
	report Report
	link   *pushLink // nil while there is none
}

// reach makes a connection unless there is a live one.
func (p *pusher) reach(ctx context.Context) error {
	if p.link != nil && !p.link.gone() {
		return nil
	}
	if p.link != nil {
		p.lose(errClosed)
	}
	link, err := dialPush(ctx, p.Client)
	if err != nil {
		return err
	}
	p.link = link
	p.report(Event{Peer: p.Name, Kind: Connected, Text: connected(p.Connect, link.conn)})
	return nil
}

// send writes one message, over a new connection where the old one is gone.
func (p *pusher) send(ctx context.Context, seq int) error {
	if err := p.reach(ctx); err != nil {
		return err
	}
	conn := p.link.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	msg := zmq4.NewMsgFrom([]byte(p.Name), strconv.AppendInt(nil, int64(seq), 10), []byte(greeting(p.Name)))
	if err := p.link.zmtp.SendMsg(msg); err != nil {
		p.lose(err)
		return err
	}
	return nil
}

func (p *pusher) lose(why error) {
	p.report(Event{Peer: p.Name, Kind: Lost, Text: why.Error()})
	p.link.abort()
	p.link = nil
}

func (p *pusher) close() error {
	if p.link == nil {
		return nil
	}
	return p.link.finish()
}

// pushLink is one connection. Its watcher, the only reader, sees the far side leave: a PUSH receives nothing, so without
// it a dead connection would be noticed one lost message too late.
type pushLink struct {
	conn net.Conn
	zmtp *zmq4.Conn
	left chan struct{} // closed by the watcher
	why  error         // what ended the watcher; nil: EOF; read it after left
}

func dialPush(ctx context.Context, c Client) (*pushLink, error) {
	conn, err := dial(ctx, c.Connect)
	if err != nil {
		return nil, err
	}
	z, err := openZMTP(ctx, conn, zmq4.Push, c.Name, false)
	if err != nil {
		conn.Close()
		return nil, err
	}
	l := &pushLink{conn: conn, zmtp: z, left: make(chan struct{})}
	go func() {
		defer close(l.left)
		_, l.why = io.Copy(io.Discard, conn)
	}()
	return l, nil
}

// openZMTP shakes hands within dialWait, NULL mechanism. On an error the connection remains the caller's; the end of ctx is
// one even where the handshake was faster.
func openZMTP(ctx context.Context, conn net.Conn, typ zmq4.SocketType, name string, server bool) (*zmq4.Conn, error) {
	if err := conn.SetDeadline(time.Now().Add(dialWait)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	z, err := zmq4.Open(conn, null.Security(), typ, zmq4.SocketIdentity(name), server, nil)
	if !stop() {
		return nil, context.Cause(ctx) // the connection is being closed
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("the far side closed the connection during the ZeroMQ handshake: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return z, conn.SetDeadline(time.Time{})
}

func (l *pushLink) gone() bool {
	select {
	case <-l.left:
		return true
	default:
		return false
	}
}

func (l *pushLink) abort() {
	l.conn.Close()
	<-l.left
}

// finish says that nothing more comes and waits until the far side has closed too: it has read everything then.
func (l *pushLink) finish() error {
	defer l.abort()
	if l.gone() {
		return fmt.Errorf("%w first: the last messages may not have arrived", errClosed)
	}
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	select {
	case <-l.left:
		if l.why != nil {
			return fmt.Errorf("close: %w", l.why)
		}
		return nil
	case <-time.After(lingerWait):
		return fmt.Errorf("the far side did not close within %v: the last messages may not have arrived", lingerWait)
	}
}
