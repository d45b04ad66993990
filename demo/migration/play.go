package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	oldClients = 8
	newClients = 4

	seenWait     = time.Minute            // for what must be seen of a step
	lookEvery    = 100 * time.Millisecond // at the gateway's status
	askedAtATime = 300                    // requests that each step sees at least
	silentFor    = time.Second            // without ZeroMQ before it is switched off
)

//go:embed stages
var stageFiles embed.FS

// play is the whole scene.
type play struct {
	ctx     context.Context
	pace    time.Duration
	tally   *tally
	gateway *gateway
	old     *oldService
	new     *newService

	addresses map[string]string // in the stages' files, and here
	clients   sync.WaitGroup
	oldStop   chan struct{}
	newStop   chan struct{}
	oldOnes   sync.WaitGroup
}

// begin starts the services, the gateway in its first stage, and the old clients.
func (p *play) begin(binary string) error {
	p.oldStop, p.newStop = make(chan struct{}), make(chan struct{})
	var err error
	if p.old, err = startOldService(p.tally); err != nil {
		return err
	}
	if p.new, err = startNewService(p.tally); err != nil {
		return err
	}
	public, errPublic := freeAddress()
	admin, errAdmin := freeAddress()
	if err := errors.Join(errPublic, errAdmin); err != nil {
		return err
	}
	p.addresses = map[string]string{
		"127.0.0.1:5555": public, "127.0.0.1:9901": admin, "127.0.0.1:5560": p.old.address, "127.0.0.1:50051": p.new.address,
	}
	if p.gateway, err = startGateway(p.ctx, binary, admin, p.configuration(step{stage: 1})); err != nil {
		return err
	}
	p.start(p.oldClient, oldClients)
	return nil
}

func (p *play) start(client func(i int), n int) {
	for i := range n {
		p.clients.Go(func() { client(i) })
	}
}

// end stops everything, in the order in which nobody misses anybody.
func (p *play) end() {
	p.retireOldClients()
	if p.newStop != nil {
		close(p.newStop)
	}
	p.clients.Wait()
	if p.gateway != nil {
		p.gateway.stop()
	}
	if p.new != nil {
		p.new.stop()
	}
	if p.old != nil {
		p.old.stop()
	}
}

// retireOldClients lets the old clients end, each after its answer.
func (p *play) retireOldClients() {
	if p.oldStop != nil {
		close(p.oldStop)
		p.oldStop = nil
		p.oldOnes.Wait()
	}
}

// configuration is a stage's file, with the addresses of this play and the share of this step.
func (p *play) configuration(s step) string {
	base, errBase := stageFiles.ReadFile("stages/base.hcl")
	stage, errStage := stageFiles.ReadFile(fmt.Sprintf("stages/%d.hcl", s.stage))
	if err := errors.Join(errBase, errStage); err != nil {
		panic(err) // they are part of this program
	}
	text := string(base) + "\n" + string(stage)
	for there, here := range p.addresses {
		text = strings.ReplaceAll(text, there, here)
	}
	if s.share > 0 {
		text = strings.ReplaceAll(text, "weight = 99", fmt.Sprintf("weight = %d", 100-s.share))
		text = strings.ReplaceAll(text, "weight = 1\n", fmt.Sprintf("weight = %d\n", s.share))
	}
	return text
}

// asked waits until clients have asked a good deal in this step.
func (p *play) asked() error {
	began, before := time.Now(), p.tally.answers()
	for time.Since(began) < p.pace || p.tally.answers() < before+askedAtATime {
		if time.Since(began) > seenWait {
			return fmt.Errorf("%d answers within %v", p.tally.answers()-before, seenWait)
		}
		if err := p.wait(lookEvery); err != nil {
			return err
		}
	}
	return nil
}

func (p *play) wait(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// oldClients wants ZeroMQ clients to be seen at a block.
func (p *play) oldClients(block string) func(migrationStatus) error {
	return func(s migrationStatus) error {
		if s.live(block) == 0 {
			return fmt.Errorf("no client of %s is seen", block)
		}
		return nil
	}
}

// mirrored wants calls to have been compared, all replies to be the same, and the relay to be empty.
func (p *play) mirrored(s migrationStatus) error {
	switch {
	case len(s.Mirrors) != 1 || s.Mirrors[0].Matches == 0:
		return fmt.Errorf("no mirrored reply was compared: %+v", s.Mirrors)
	case s.Mirrors[0].Mismatches > 0:
		return fmt.Errorf("replies differ: %+v", s.Mirrors)
	case s.live("greeter") > 0:
		return errors.New("the relay still has clients")
	}
	return nil
}

// shareOff is how far the share that is measured may be from the one that is asked, in percent points.
const shareOff = 1.0

// shared wants the new service to get its share.
func (p *play) shared(percent float64) func(migrationStatus) error {
	return func(s migrationStatus) error {
		for _, way := range s.Ways {
			if way.Backend == "new" && way.Asked == percent && math.Abs(way.Measured-percent) <= shareOff {
				return nil
			}
		}
		return fmt.Errorf("the new service does not get %v %%: %+v", percent, s.Ways)
	}
}

// awaitSilence waits until gateway migration says that ZeroMQ can be switched off.
func (p *play) awaitSilence() error {
	for began := time.Now(); time.Since(began) < seenWait; {
		if p.gateway.silent(p.ctx, silentFor) {
			return nil
		}
		if err := p.wait(lookEvery); err != nil {
			return err
		}
	}
	return errors.New("somebody still speaks ZeroMQ")
}

// strangerIsHeld lets a forgotten old client come when ZeroMQ is off: it is counted, and gets no answer.
func (p *play) strangerIsHeld() error {
	ctx, leave := context.WithCancel(p.ctx)
	defer leave()
	served := make(chan error, 1)
	go func() { served <- p.tryOld(ctx) }()
	why := p.await(func(s migrationStatus) error {
		if s.seen("(no block)") == 0 {
			return errors.New("the ZeroMQ client that came too late was not counted")
		}
		return nil
	})
	leave()
	if err := <-served; err == nil {
		return errors.New("a ZeroMQ client was served though ZeroMQ is off")
	}
	if why != nil {
		return why
	}
	fmt.Println("   A forgotten ZeroMQ client came, got no answer, and was counted:")
	return p.gateway.show(p.ctx)
}

// freeAddress is one that nobody listens on. On Linux all of 127/8 is this machine: there it is also one that no other program
// gets before the gateway does.
func freeAddress() (string, error) {
	host := "127.0.0.1"
	if pid := os.Getpid(); runtime.GOOS == "linux" {
		host = fmt.Sprintf("127.%d.%d.%d", 64+pid>>16, pid>>8&0xff, pid&0xff)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// writeFile puts text in the place of a file at once.
func writeFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
