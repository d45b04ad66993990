package main

import "time"

// status is what /status shows.
type status struct {
	Version    string           `json:"version"`
	Uptime     string           `json:"uptime"`
	Generation int              `json:"generation"` // of the configuration; 1 at the start
	Draining   bool             `json:"draining"`
	LogLost    int64            `json:"log_lines_lost,omitempty"`
	Listeners  []listenerStatus `json:"listeners"`
	Flows      []flowStatus     `json:"flows"`
	Refused    []refusedStatus  `json:"refused,omitempty"`
	Relays     []relayStatus    `json:"relays"`
	GRPC       any              `json:"grpc,omitempty"`
	SockJS     []any            `json:"sockjs,omitempty"`
	Migration  *migrationStatus `json:"migration,omitempty"`
}

type listenerStatus struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

type relayStatus struct {
	Name    string `json:"name"`
	Targets any    `json:"targets,omitempty"` // that are dialled
	Pairing any    `json:"pairing,omitempty"` // of workers that connect in, and clients
}

// statusRowsMax bounds each list of /status.
const statusRowsMax = 1000

func (i *instance) status() status {
	s := status{
		Version:  versionText(),
		Uptime:   time.Since(i.started).Round(time.Second).String(),
		Draining: i.draining.Load(),
		LogLost:  i.logLost(),
	}
	g := i.current.Load()
	s.Generation = g.number
	for _, p := range g.ports {
		s.Listeners = append(s.Listeners, listenerStatus{p.name, p.addr.String()})
	}
	for _, r := range g.config.Relays {
		if b := g.relays[r.Name]; b != nil {
			s.Relays = append(s.Relays, relayStatus{Name: r.Name, Targets: b.Status()})
		}
		if m := g.meetings[r.Name]; m != nil {
			s.Relays = append(s.Relays, relayStatus{Name: r.Name, Pairing: m.Status(statusRowsMax)})
		}
	}
	if g.proxy != nil {
		s.GRPC = g.proxy.Status()
	}
	for _, b := range g.browsers {
		s.SockJS = append(s.SockJS, b.Status())
	}
	s.Flows = i.flows(g)
	s.Refused = i.refusals()
	s.Migration = i.migration(g)
	return s
}
