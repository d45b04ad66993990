package gateway

import (
	"fmt"
	"testing"
)

func TestFlowsOfServersStayBounded(t *testing.T) {
	var f flows
	stays := f.enter(Flow{To: "stays"})
	for n := range 2 * flowsMax {
		f.enter(Flow{To: fmt.Sprint("gone ", n)}).open.Add(-1)
	}
	if len(f.all) != flowsMax || f.enter(Flow{To: "stays"}) != stays {
		t.Errorf("%d flows, and an open one was forgotten: %v", len(f.all), f.all[Flow{To: "stays"}] != stays)
	}
	for n := range 2 * flowsMax {
		f.enter(Flow{To: fmt.Sprint("busy ", n)})
	}
	if unnamed := f.all[Flow{}]; len(f.all) != flowsMax+1 || unnamed == nil || unnamed.open.Load() < flowsMax {
		t.Errorf("%d flows, of which the one without a name is %v", len(f.all), unnamed)
	}
}
