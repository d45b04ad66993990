package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	demov1 "gateway/proto/demo/v1"
)

const (
	callWait     = 5 * time.Second // for one answer
	connectDelay = time.Second     // the longest pause between two attempts of grpc-go to connect
)

// Call connects a gRPC client to a Greeter, without TLS, and calls until its count is reached or ctx ends: SayHello, or with
// Client.Stream SayHelloBidiStream, one message after the other. A call that fails because the server cannot be reached
// or does not answer is made again under the same number.
func Call(ctx context.Context, c Client, report Report) error {
	c, err := c.complete("call")
	if err != nil {
		return err
	}
	k := &caller{Client: c, report: report}
	late, cancel := outlive(ctx)
	defer cancel()
	conn, err := k.open()
	if err != nil {
		return err
	}
	defer conn.Close()
	ask, end := asker(late, demov1.NewGreeterClient(conn), k.Stream)
	err = k.eachMessage(ctx, func(seq int) error {
		// Two steps, since the first may end with ctx in peace, while a message that was told must be answered.
		if err := k.untilDone(ctx, func() error { return k.reach(ctx, conn) }); err != nil {
			return stopped(ctx, err)
		}
		report(Event{Peer: k.Name, Kind: Sent, Seq: seq, Text: greeting(k.Name)})
		if err := k.untilDone(late, func() error { return k.call(late, seq, ask) }); err != nil {
			return fmt.Errorf("call %d was not answered: %w", seq, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return end()
}

type caller struct {
	Client
	report  Report
	met     bool                    // a server was reached and not lost since
	attempt atomic.Pointer[attempt] // the last one to connect, nil before the first
}

// attempt is what came of connecting; grpc-go keeps it to itself, its dialer sees it.
type attempt struct {
	connected string // the text of the Connected event
	err       error  // why it is of no use, where it is not
}

func (k *caller) open() (*grpc.ClientConn, error) {
	network, address, err := ParseEndpoint(k.Connect)
	if err != nil {
		return nil, err
	}
	authority := address
	if network == "unix" {
		authority = "localhost" // a path is no host
	}
	dialer := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := dial(ctx, k.Connect)
		if err != nil {
			k.attempt.Store(&attempt{err: err})
			return nil, err
		}
		k.attempt.Store(&attempt{connected: connected(k.Connect, conn), err: errNotHTTP2})
		return conn, nil
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithAuthority(authority),
		grpc.WithContextDialer(dialer),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryPause, Multiplier: 1.5, Jitter: 0.2, MaxDelay: connectDelay},
			MinConnectTimeout: dialWait,
		}))
}

// reach waits for a usable connection, dialWait at most.
func (k *caller) reach(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			if !k.met {
				k.met = true
				k.report(Event{Peer: k.Name, Kind: Connected, Text: k.attempt.Load().connected})
			}
			return nil
		case connectivity.Idle:
			conn.Connect()
		case connectivity.TransientFailure:
			return k.attempt.Load().err
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("connect: %w", ctx.Err())
		}
	}
}

var errNotHTTP2 = errors.New("it accepts connections, but does not speak HTTP/2")

// call asks once. What another attempt cannot mend is marked errPermanent.
func (k *caller) call(ctx context.Context, seq int, ask askFunc) error {
	reply, err := ask(ctx, &demov1.HelloRequest{Name: k.Name})
	switch status.Code(err) {
	case codes.OK:
		text := fmt.Sprintf("%s (served by %s)", reply.GetMessage(), reply.GetServedBy())
		k.report(Event{Peer: k.Name, Kind: Answered, Seq: seq, Text: text})
		return nil
	case codes.Unavailable, codes.DeadlineExceeded:
		if k.met {
			k.met = false
			k.report(Event{Peer: k.Name, Kind: Lost, Text: err.Error()})
		}
		return err
	}
	return fmt.Errorf("%w: %w", errPermanent, err)
}
