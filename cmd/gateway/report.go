package main

import "time"

// status is what /status shows.
type status struct {
	Version   string           `json:"version"`
	Uptime    string           `json:"uptime"`
	Draining  bool             `json:"draining"`
	Listeners []listenerStatus `json:"listeners"`
	Relays    []relayStatus    `json:"relays"`
	GRPC      any              `json:"grpc,omitempty"`
}

type listenerStatus struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

type relayStatus struct {
	Name    string `json:"name"`
	Targets any    `json:"targets"`
}

func (i *instance) status() status {
	s := status{
		Version:  versionText(),
		Uptime:   time.Since(i.started).Round(time.Second).String(),
		Draining: i.draining.Err() != nil,
	}
	for _, p := range i.ports {
		s.Listeners = append(s.Listeners, listenerStatus{p.name, p.listener.Addr().String()})
	}
	for _, r := range i.config.Relays {
		s.Relays = append(s.Relays, relayStatus{r.Name, i.relays[r.Name].Status()})
	}
	if i.proxy != nil {
		s.GRPC = i.proxy.Status()
	}
	return s
}
