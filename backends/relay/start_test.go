package relay

import (
	"sync"
	"testing"
)

const startsAtOnce = 100

// Relays that start while their group is shut down are cut like the others, wherever the shutdown meets them.
func testShutdownMeetsRelaysThatStart(t *testing.T, s *scene) {
	var starting, stopping sync.WaitGroup
	for i := range startsAtOnce {
		client, a := s.connect(t)
		worker, b := s.connect(t)
		starting.Go(func() { s.start(client, worker, a, b, Limits{}) })
		client.Close()
		worker.Close()
		if i%10 == 0 {
			stopping.Go(func() { s.group.Shutdown(done()) })
		}
	}
	starting.Wait()
	stopping.Wait()
	s.group.Shutdown(done())
	if live := s.group.Live(); live != 0 {
		t.Errorf("%d relays are left", live)
	}
}
