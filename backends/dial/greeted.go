package dial

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"gateway/backends/relay"
)

// Greeted is a client whose ZMTP greeting was answered already, in part or whole, to see what it is. What it sent is in
// its prefix.
type Greeted interface {
	relay.Prefixed
	Answered() int // how many bytes of the target's greeting the client has got
}

// catchUp brings a target to where its client is: the client's prefix is delivered, and what the client has got already is
// taken from the start of the target's stream. It returns the client for the relay, and how many of its bytes the target
// has got.
func (b *Backend) catchUp(ctx context.Context, client, target net.Conn) (rest net.Conn, ahead int, err error) {
	g, ok := client.(Greeted)
	if !ok || g.Answered() == 0 {
		return client, 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { target.SetDeadline(time.Unix(1, 0)) })
	prefix, raw := g.Detach()
	ahead, err = target.Write(prefix)
	if err == nil {
		_, err = io.CopyN(io.Discard, target, int64(g.Answered()))
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		return raw, ahead, fmt.Errorf("dial: the target did not answer the greeting of a ZMTP 3 client "+
			"(a ZMTP 2 target serves only blocks that ask for no mechanism, socket_type or identity): %w", err)
	}
	return raw, ahead, nil
}
