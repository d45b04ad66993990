// Package browser is the demo of browsers that talk to ZeroMQ: a page, and the program that answers it.
//
// The page wants a gateway at ./chat, beside it, or one level up, and loads everything from there: [Page] can be served
// below any path. [Reply] is the program: it answers each message with the date.
package browser

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"gateway/internal/zmtp"
)

// Page is the page and its script.
//
//go:embed index.html page.js
var Page embed.FS

// Endpoints of a gateway's sockjs block where nothing else is said, as SockJSProxy had them.
const (
	DefaultPull = "tcp://127.0.0.1:9241" // the gateway pushes there
	DefaultPush = "tcp://127.0.0.1:9242" // the gateway pulls there
)

// dateFormat is how the original's sample writes the time.
const dateFormat = "2006-01-02 15:04:05.000000"

// goodbye is the message that ends the session of whoever says it.
const goodbye = "bye"

// Replier is the program that answers with the date.
type Replier struct {
	Pull, Push string // endpoints of the gateway; "": the defaults
	Stay       bool   // leave browsers connected after an answer, unless they say "bye"
	// Heard is told of each message of the gateway, before it is answered. nil: nobody is.
	Heard func(kind, session, data string)
}

// Reply connects, and answers until ctx ends.
func Reply(ctx context.Context, r Replier) error {
	push, err := zmtp.NewSocket(zmtp.SocketOptions{Options: zmtp.Options{SocketType: zmtp.PUSH}})
	if err != nil {
		return err
	}
	defer end(ctx, push)
	pull, err := zmtp.NewSocket(zmtp.SocketOptions{Options: zmtp.Options{SocketType: zmtp.PULL}})
	if err != nil {
		return err
	}
	defer end(ctx, pull)
	if err := errors.Join(push.Connect(cmp.Or(r.Push, DefaultPush)), pull.Connect(cmp.Or(r.Pull, DefaultPull))); err != nil {
		return err
	}
	m := &zmtp.Message{}
	for {
		if err := pull.Recv(ctx, m); err != nil {
			return endOf(ctx, fmt.Errorf("pull: %w", err))
		}
		if m.Len() != 3 {
			continue // not a gateway
		}
		if err := r.answer(ctx, push, string(m.Part(0)), m.Part(1), string(m.Part(2))); err != nil {
			return endOf(ctx, fmt.Errorf("push: %w", err))
		}
	}
}

// answer answers one message.
func (r Replier) answer(ctx context.Context, push *zmtp.Socket, kind string, session []byte, data string) error {
	if r.Heard != nil {
		r.Heard(kind, string(session), data)
	}
	if kind != "message" {
		return nil
	}
	date := time.Now().Format(dateFormat)
	if err := push.Send(ctx, zmtp.NewMessage([]byte("message"), session, []byte(date))); err != nil {
		return err
	}
	if r.Stay && data != goodbye {
		return nil
	}
	return push.Send(ctx, zmtp.NewMessage([]byte("disconnect"), session, nil))
}

// closeWait is how long the last answers may take to leave.
const closeWait = time.Second

func end(ctx context.Context, s *zmtp.Socket) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	_ = s.Close(ctx) // the gateway has gone first
}

// endOf is err, unless it only says that ctx ended.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
