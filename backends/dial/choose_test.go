package dial

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTargetsAreTakenApart(t *testing.T) {
	good := map[string]address{
		"tcp://127.0.0.1:3333":   {network: "tcp", literal: "127.0.0.1:3333"},
		"tcp://[::1]:3333":       {network: "tcp", literal: "[::1]:3333"},
		"tcp://worker.lan:65535": {network: "tcp", host: "worker.lan", port: "65535"},
		"unix:///run/pull.sock":  {network: "unix", literal: "/run/pull.sock"},
		"ipc:///run/pull.sock":   {network: "unix", literal: "/run/pull.sock"},
		"ipc://@pull":            {network: "unix", literal: "@pull"},
	}
	for text, want := range good {
		want.text = text
		if got, err := parseTarget(text); err != nil || got != want {
			t.Errorf("%s: %+v, error %v, want %+v", text, got, err, want)
		}
	}
}

func TestBadTargetSaysWhatToWrite(t *testing.T) {
	bad := map[string]string{
		"127.0.0.1:3333":                       "has no scheme: write tcp://host:port",
		"udp://127.0.0.1:3333":                 `unknown scheme "udp"`,
		"tcp://127.0.0.1":                      "missing port",
		"tcp://*:3333":                         "names no host",
		"tcp://:3333":                          "names no host",
		"tcp://h:0":                            "not a number from 1 to 65535",
		"tcp://h:70000":                        "not a number from 1 to 65535",
		"tcp://h:http":                         "not a number from 1 to 65535",
		"unix://run/x.sock":                    "unix:///absolute/path",
		"ipc://":                               "ipc:///absolute/path",
		"unix:///" + strings.Repeat("x", 107):  "a socket's may have 107",
		"tcp://worker.example:3333/and/a/path": "not a number",
	}
	for text, want := range bad {
		if _, err := New(Options{Targets: []string{text}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no target is no error")
	}
	if _, err := New(Options{Targets: []string{"tcp://h:1"}, Balance: "fair"}); err == nil || !strings.Contains(err.Error(), LeastConnections) {
		t.Errorf("error %v does not name the balances", err)
	}
}

func TestBestTargetIsChosen(t *testing.T) {
	const now = 10 * time.Second
	idle, busy := &Target{Name: "idle"}, &Target{Name: "busy", open: 5}
	expired := &Target{Name: "expired", ejectedUntil: now}
	soon, late := &Target{Name: "soon", ejectedUntil: now + 1}, &Target{Name: "late", ejectedUntil: now + 2}
	cases := []struct {
		candidates, tried []*Target
		balance           string
		turn              int
		want              *Target
	}{
		{[]*Target{busy, idle}, nil, LeastConnections, 0, idle},
		{[]*Target{busy, idle}, nil, RoundRobin, 0, busy},
		{[]*Target{busy, idle}, nil, RoundRobin, 3, idle},
		{[]*Target{idle, expired}, nil, LeastConnections, 0, idle},
		{[]*Target{idle, expired}, nil, LeastConnections, 1, expired},
		{[]*Target{soon, busy, late}, nil, LeastConnections, 0, busy},
		{[]*Target{late, soon}, nil, LeastConnections, 0, soon},
		{[]*Target{late, soon}, nil, RoundRobin, 0, soon},
		{[]*Target{late, soon}, []*Target{soon}, RoundRobin, 0, late},
		{[]*Target{busy, idle}, []*Target{idle}, LeastConnections, 0, busy},
		{[]*Target{idle}, []*Target{idle}, LeastConnections, 0, nil},
		{nil, nil, LeastConnections, 0, nil},
	}
	for i, c := range cases {
		if got := choose(c.candidates, c.tried, c.balance, c.turn, now); got != c.want {
			t.Errorf("case %d: %+v, want %+v", i, got, c.want)
		}
	}
}

func TestEjectionDoublesUpToItsLimit(t *testing.T) {
	o := &Options{EjectAfter: 3, EjectMin: time.Second, EjectMax: time.Minute}
	want := map[int]time.Duration{1: 0, 2: 0, 3: time.Second, 4: 2 * time.Second, 8: 32 * time.Second, 9: time.Minute, 50: time.Minute, 1 << 40: time.Minute}
	for failures, mid := range want {
		t.Run(fmt.Sprint(failures), func(t *testing.T) {
			for range 100 {
				if got := ejection(failures, o); got < mid*3/4 || got > mid*5/4 {
					t.Errorf("%v, want %v give or take a quarter", got, mid)
				}
			}
		})
	}
}
