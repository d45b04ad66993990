package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"

	"gateway/internal/zmtp"
)

// answerWait is how long Ask waits for one answer before it asks anew.
const answerWait = 5 * time.Second

// Ask connects a ZeroMQ DEALER client, under CURVE with the server key that it knows, and asks until its count is reached or
// ctx ends, one question at a time. A question whose worker is gone is asked again under the same number.
func Ask(ctx context.Context, c Client, server zmtp.PublicKey, report Report) error {
	c, err := c.complete("ask")
	if err != nil {
		return err
	}
	a := &asking{Client: c, report: report, security: zmtp.CurveClient{Server: server}}
	defer a.drop()
	late, cancel := outlive(ctx)
	defer cancel()
	return a.eachMessage(ctx, func(seq int) error {
		report(Event{Peer: a.Name, Kind: Sent, Seq: seq, Text: greeting(a.Name)})
		if err := a.untilDone(late, func() error { return a.ask(late, seq) }); err != nil {
			return fmt.Errorf("question %d was not answered: %w", seq, err)
		}
		return nil
	})
}

type asking struct {
	Client
	report   Report
	security zmtp.Security
	conn     net.Conn // nil while there is none
	zmtp     *zmq4.Conn
}

// ask asks once.
func (a *asking) ask(ctx context.Context, seq int) error {
	if err := a.reach(ctx); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { a.conn.Close() })
	defer stop()
	number := strconv.Itoa(seq)
	err := a.conn.SetDeadline(time.Now().Add(answerWait))
	if err == nil {
		err = a.zmtp.SendMsg(zmq4.NewMsgFrom([]byte(a.Name), []byte(number), []byte(greeting(a.Name))))
	}
	for err == nil {
		var m zmq4.Msg
		if m, err = a.zmtp.RecvMsg(); err == nil && len(m.Frames) == pullFramesMax && string(m.Frames[1]) == number {
			a.report(Event{Peer: a.Name, Kind: Answered, Seq: seq, Text: string(m.Frames[2])})
			return nil
		}
	}
	a.report(Event{Peer: a.Name, Kind: Lost, Text: err.Error()})
	a.drop()
	return err
}

// reach makes a connection unless there is one.
func (a *asking) reach(ctx context.Context) error {
	if a.conn != nil {
		return nil
	}
	raw, err := dial(ctx, a.Connect)
	if err != nil {
		return err
	}
	conn := zmtp.NewCurveConn(raw, false, zmtp.Options{Security: a.security})
	z, err := openZMTP(ctx, conn, zmq4.Dealer, a.Name, false)
	if err != nil {
		conn.Close()
		return err
	}
	a.conn, a.zmtp = conn, z
	a.report(Event{Peer: a.Name, Kind: Connected, Text: connected(a.Connect, raw)})
	return nil
}

func (a *asking) drop() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

// Vault is a ZeroMQ worker that connects to a workers' door, with some connections at the same time, and answers under CURVE. It
// runs until ctx ends; a connection that ends is made again.
func Vault(ctx context.Context, door string, slots int, name string, secret zmtp.SecretKey, report Report) error {
	if _, _, err := ParseEndpoint(door); err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	for range slots {
		all.Go(func() {
			for ctx.Err() == nil {
				// It waits for a client, or the client has left: both end a connection, and neither is an error.
				_ = guard(ctx, door, name, secret, report)
				select {
				case <-time.After(retryPause):
				case <-ctx.Done():
				}
			}
		})
	}
	return nil
}

// guard answers one client: whoever the door pairs it with.
func guard(ctx context.Context, door, name string, secret zmtp.SecretKey, report Report) error {
	raw, err := dial(ctx, door)
	if err != nil {
		return err
	}
	conn := zmtp.NewCurveConn(raw, false, zmtp.Options{Security: zmtp.CurveServer{Secret: secret}, HandshakeTimeout: time.Hour})
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	z, err := zmq4.Open(conn, null.Security(), zmq4.Dealer, zmq4.SocketIdentity(name), false, nil)
	for err == nil {
		var m zmq4.Msg
		if m, err = z.RecvMsg(); err != nil {
			break
		}
		if len(m.Frames) != pullFramesMax {
			return errors.New("that is no question")
		}
		report(received(name, m.Frames))
		text := fmt.Sprintf("Hello, %s! (kept by %s)", m.Frames[0], name)
		err = z.SendMsg(zmq4.NewMsgFrom([]byte(name), m.Frames[1], []byte(text)))
	}
	return err
}
