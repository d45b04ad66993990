package main

// What a configuration makes of an exposed port, before the table chooses.

import (
	"log/slog"

	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/metrics"
)

func listenerOf(l config.Listener, log *slog.Logger) (gateway.Listener, error) {
	exposed := gateway.Listener{Name: l.Name, Sources: l.Source, Proxies: l.Proxies, AllProxies: l.AllProxies}
	if len(l.Certificates) == 0 {
		return exposed, nil
	}
	var files []gateway.CertificateFiles
	for _, c := range l.Certificates {
		files = append(files, gateway.CertificateFiles(c))
	}
	var err error
	exposed.TLS, err = gateway.NewTermination(files, l.ClientCA, log.With("listener", l.Name))
	return exposed, err
}

// certificates are those that are shown to clients now.
func (i *instance) certificates() (all []metrics.Certificate) {
	g := i.current.Load()
	if g == nil {
		return nil
	}
	for _, p := range g.ports {
		if p.tls == nil {
			continue
		}
		for file, notAfter := range p.tls.Certificates() {
			all = append(all, metrics.Certificate{Listener: p.name, File: file, NotAfter: notAfter})
		}
	}
	return all
}
