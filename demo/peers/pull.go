package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
	"golang.org/x/net/netutil"
)

const (
	pullConnsMax  = 1000 // connections of Pull at a time; more wait in the kernel's queue
	pullFramesMax = 3    // frames of a message that is ours: name, number, text
)

// Pull serves a ZeroMQ PULL socket on l, which it closes, until ctx ends. One peer that leaves or misbehaves ends its own
// connection only.
func Pull(ctx context.Context, l net.Listener, name string, report Report) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l = netutil.LimitListener(l, pullConnsMax)
	context.AfterFunc(ctx, func() { l.Close() })
	report(Event{Peer: name, Kind: Listening, Text: l.Addr().String()})
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		conns.Go(func() {
			defer conn.Close()
			if err := pullFrom(ctx, conn, name, report); err != nil && ctx.Err() == nil {
				report(Event{Peer: name, Kind: Lost, Text: err.Error()})
			}
		})
	}
}

// pullFrom receives from one peer until it leaves, which is no error, or ctx ends.
func pullFrom(ctx context.Context, conn net.Conn, name string, report Report) error {
	z, err := openZMTP(ctx, conn, zmq4.Pull, name, true)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	defer stop()
	for {
		msg, err := z.RecvMsg()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if msg.Type == zmq4.UsrMsg {
			report(received(name, msg.Frames))
		}
	}
}

// received is pure: it reads a message of Push, and shows any other as text, its frames side by side.
func received(name string, frames [][]byte) Event {
	e := Event{Peer: name, Kind: Received}
	if len(frames) == pullFramesMax {
		if seq, err := strconv.Atoi(string(frames[1])); err == nil && seq > 0 {
			e.From, e.Seq, e.Text = string(frames[0]), seq, string(frames[2])
			return e
		}
	}
	texts := make([]string, len(frames))
	for i, f := range frames {
		texts[i] = strconv.Quote(string(f))
	}
	e.Text = strings.Join(texts, " ")
	return e
}
