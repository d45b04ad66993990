package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	retryPause = 100 * time.Millisecond // between two attempts to reach a server
	dialWait   = 3 * time.Second        // for one attempt to connect and to shake hands
	lingerWait = 10 * time.Second       // for what is under way when a client is told to stop
)

// Defaults of Client.
const (
	DefaultConnect = "127.0.0.1:5555"
	DefaultEvery   = 500 * time.Millisecond
	DefaultWait    = 10 * time.Second
)

// Client says what Push and Call do.
type Client struct {
	Name    string        // who sends; default "push" and "call"
	Connect string        // where to; see ParseEndpoint; default DefaultConnect
	Every   time.Duration // pause between two messages; default DefaultEvery
	Count   int           // messages to send; 0: until the context ends
	Wait    time.Duration // how long to look for a server that cannot be reached; default DefaultWait
	Stream  bool          // Call only: all messages on one bidirectional stream instead of a call each
}

// complete fills in the defaults, and refuses what makes no sense before anything is connected.
func (c Client) complete(name string) (Client, error) {
	if c.Every < 0 || c.Wait < 0 || c.Count < 0 {
		return c, fmt.Errorf("pause %v, wait %v, count %d: none may be negative", c.Every, c.Wait, c.Count)
	}
	c.Name = cmp.Or(c.Name, name)
	c.Connect = cmp.Or(c.Connect, DefaultConnect)
	c.Every = cmp.Or(c.Every, DefaultEvery)
	c.Wait = cmp.Or(c.Wait, DefaultWait)
	_, _, err := ParseEndpoint(c.Connect)
	return c, err
}

// ErrUnreachable is in the chain of the error of a client that found no server within Client.Wait.
var ErrUnreachable = errors.New("no answer")

// errPermanent marks a failure that another attempt cannot mend.
var errPermanent = errors.New("trying again cannot help")

// eachMessage calls send for 1, 2, 3 and so on, a pause between them, until the count is reached, the context ends or send
// fails. The end of the context is no error.
func (c Client) eachMessage(ctx context.Context, send func(seq int) error) error {
	pause := time.NewTicker(c.Every)
	defer pause.Stop()
	for seq := 1; ; seq++ {
		if ctx.Err() != nil {
			return nil
		}
		if err := send(seq); err != nil {
			return err
		}
		if seq == c.Count {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// untilDone calls try until it succeeds, Wait has passed or the context ends.
func (c Client) untilDone(ctx context.Context, try func() error) error {
	start := time.Now()
	for {
		err := try()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errPermanent):
			return err
		case time.Since(start) >= c.Wait:
			return fmt.Errorf("%w at %s within %v: %w", ErrUnreachable, c.Connect, c.Wait, err)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopped turns the error of a client whose context has ended into nil: it did as it was told.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// outlive returns a context that ends lingerWait after ctx: what is under way when a client is told to stop may finish.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lingerWait):
			cancel()
		case <-late.Done():
		}
	})
	return late, func() {
		stop()
		cancel()
	}
}
