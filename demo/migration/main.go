// Command migration plays the five stages of docs/MIGRATING.md with a running gateway, an old ZeroMQ and a new gRPC service,
// and clients of both kinds that never stop asking: it reloads the gateway under them, looks at gateway migration before it
// goes on, takes a step back on the way, and ends with 0 only if no request was lost and none was answered twice.
//
//	migration -gateway bin/gateway
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	gateway := flag.String("gateway", "bin/gateway", "the gateway's `binary`")
	pace := flag.Duration("pace", time.Second, "how long each step is looked at, at least")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *gateway, *pace); err != nil {
		fmt.Fprintf(os.Stderr, "\nNot well: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("\nThe move is over: no request was lost, none was answered twice.")
}

// run plays all stages and says what went wrong.
func run(ctx context.Context, binary string, pace time.Duration) error {
	p := &play{ctx: ctx, pace: pace, tally: newTally()}
	err := p.begin(binary)
	if err == nil {
		err = p.stages()
	}
	p.end() // who asked has an answer then
	return errors.Join(err, p.tally.verdict())
}

// step is a configuration, and what must be seen before the play goes on.
type step struct {
	title string
	stage int
	share int // of calls that go to the new service, in percent; stage 3 alone
	seen  func(migrationStatus) error
}

// stages are the five, with the canary's three shares and a step back.
func (p *play) stages() error {
	steps := []step{
		{"1. The relay as it is", 1, 0, p.oldClients("greeter")},
		{"2. Calls are mirrored to the new service, and compared", 2, 0, p.mirrored},
		{"3. Canary: 1 % of the calls", 3, 1, p.shared(1)},
		{"3. Canary: 10 %", 3, 10, p.shared(10)},
		{"3. Canary: 50 %", 3, 50, p.shared(50)},
		{"   A step back, to 10 %", 3, 10, p.shared(10)},
		{"3. Canary: 50 % again", 3, 50, p.shared(50)},
		{"4. All on gRPC, old clients bridged", 4, 0, p.shared(100)},
	}
	for _, s := range steps {
		if err := p.take(s); err != nil {
			return err
		}
		if s.stage == 3 && s.share == 1 {
			p.start(p.newClient, newClients)
		}
	}
	fmt.Println("\n   The last old clients are replaced by new ones.")
	p.retireOldClients()
	if err := p.awaitSilence(); err != nil {
		return err
	}
	if err := p.take(step{"5. ZeroMQ off", 5, 0, func(migrationStatus) error { return nil }}); err != nil {
		return err
	}
	return p.strangerIsHeld()
}

// take reloads, lets clients ask for a while, and waits until what must be seen is.
func (p *play) take(s step) error {
	fmt.Printf("\n%s\n", s.title)
	if err := p.gateway.reload(p.configuration(s)); err != nil {
		return err
	}
	p.tally.enter(s.stage) // what is asked from now on follows the new configuration
	if err := p.asked(); err != nil {
		return err
	}
	if err := p.await(s.seen); err != nil {
		return fmt.Errorf("%s: %w", s.title, err)
	}
	return p.gateway.show(p.ctx)
}

// await looks at the gateway's status until seen has nothing to say against it.
func (p *play) await(seen func(migrationStatus) error) (why error) {
	for began := time.Now(); time.Since(began) < seenWait; {
		var status migrationStatus
		if status, why = p.gateway.status(p.ctx); why == nil {
			why = seen(status)
		}
		if why == nil {
			return nil
		}
		if err := p.wait(lookEvery); err != nil {
			return err
		}
	}
	return why
}
