package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gateway/demo/peers"
	"gateway/internal/zmtp"
)

const (
	vaultWorkers = 3
	vaultSlots   = 2 // connections of each: two workers are enough for the four clients
)

// demoVault is the demo's CURVE scene: workers that connect in, clients that are paired with them, and a key that the gateway
// does not have. One worker is killed while it runs; its clients meet the others.
type demoVault struct {
	keys   zmtp.KeyPair
	report peers.Report
}

func newDemoVault(report peers.Report) (*demoVault, error) {
	keys, err := zmtp.GenerateKeyPair()
	if err != nil {
		return nil, err
	}
	return &demoVault{keys, report}, nil
}

// work runs the workers until ctx ends; one of them is killed earlier.
func (v *demoVault) work(ctx context.Context, door string, killAfter time.Duration) error {
	var all sync.WaitGroup
	defer all.Wait()
	for n := range vaultWorkers {
		name := fmt.Sprintf("safe-%d", n+1)
		life, end := ctx, context.CancelFunc(func() {})
		if n == 0 {
			life, end = context.WithTimeout(ctx, killAfter)
		}
		all.Go(func() {
			defer end()
			// An address that makes no sense is all that can be wrong, and the gateway gave this one.
			_ = peers.Vault(life, door, vaultSlots, name, v.keys.Secret, v.report)
			if ctx.Err() == nil {
				v.report(peers.Event{Peer: name, Kind: peers.Lost, Text: "killed, to show that its clients meet another worker"})
			}
		})
	}
	return nil
}

func (v *demoVault) ask(ctx context.Context, c peers.Client, report peers.Report) error {
	return peers.Ask(ctx, c, v.keys.Public, report)
}
