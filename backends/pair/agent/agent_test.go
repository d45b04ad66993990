package agent

import (
	"strings"
	"testing"
	"time"
)

func TestAgentSaysWhatIsWrongWithItsOptions(t *testing.T) {
	right := Options{Gateway: "127.0.0.1:5556", Worker: "tcp://127.0.0.1:6000", Name: "w1"}
	if _, err := New(right); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Options){
		"the name \"w 1\"":          func(o *Options) { o.Name = "w 1" },
		"the gateway's address":     func(o *Options) { o.Gateway = "127.0.0.1" },
		"write host:port":           func(o *Options) { o.Gateway = ":5556" },
		"-1 slots":                  func(o *Options) { o.Slots = -1 },
		"65536 slots":               func(o *Options) { o.Slots = 65536 },
		"write tcp://host:port":     func(o *Options) { o.Worker = "127.0.0.1:6000" },
		"the worker's address":      func(o *Options) { o.Worker = "ipc://" },
		"\"udp://127.0.0.1:6000\":": func(o *Options) { o.Worker = "udp://127.0.0.1:6000" },
	} {
		o := right
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want it to say %q", err, says)
		}
	}
}

func TestPauseGrowsToItsBoundAndIsJittered(t *testing.T) {
	a, err := New(Options{Gateway: "127.0.0.1:1", Worker: "ipc:///w", Name: "w", RetryMin: 100 * time.Millisecond, RetryMax: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for failures, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 5: 1600 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 100 {
			d := a.pause(failures)
			if d < want/2 || d > want {
				t.Errorf("after %d failures: %v, want up to %v", failures, d, want)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("after %d failures the pause is nearly always the same", failures)
		}
	}
}
