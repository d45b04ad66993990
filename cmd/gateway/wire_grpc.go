package main

// What a configuration makes of the gRPC engine.

import (
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"

	"gateway/backends/grpcproxy"
	"gateway/internal/config"
	"gateway/internal/metrics"
)

// grpcOptions is what the engine needs of cfg; it reads the files that cfg names.
func grpcOptions(cfg *config.Config, log *slog.Logger, m *metrics.Metrics) (grpcproxy.Options, error) {
	o := grpcproxy.Options{Log: log, Metrics: m, BufferBytesMax: cfg.Limits.Buffers}
	for _, b := range cfg.Backends {
		tls, err := backendTLS(b.TLS)
		if err != nil {
			return o, placed(b.Range, fmt.Errorf("backend %q: tls: %w", b.Name, err))
		}
		o.Backends = append(o.Backends, grpcproxy.Backend{
			Name: b.Name, Targets: targetTextList(b.Targets), Balance: string(b.Balance), HashKey: b.HashKey,
			Authority: b.Authority, Health: b.Health, TLS: tls,
		})
	}
	for _, r := range cfg.Routes {
		route := grpcproxy.Route{
			Pattern: r.Pattern, Metadata: r.Metadata, Timeout: r.Timeout, MessageBytesMax: r.MaxMessage, WaitForReady: r.WaitForReady,
			CallsPerSecond: r.Rate, ConcurrentMax: r.MaxConcurrent, Retry: retryOf(r.Retry),
			SetMetadata: r.SetMetadata, RemoveMetadata: r.RemoveMetadata,
		}
		for _, to := range r.To {
			route.To = append(route.To, grpcproxy.Weighted{Backend: to.Backend, Weight: to.Weight})
		}
		var err error
		if route.Mirrors, err = mirrorsOf(r.Mirrors); err != nil {
			return o, err
		}
		o.Routes = append(o.Routes, route)
	}
	return o, nil
}

func mirrorsOf(mirrors []config.Mirror) (all []grpcproxy.Mirror, err error) {
	for _, mirror := range mirrors {
		set, err := readSmall(mirror.Descriptors)
		if err != nil {
			return nil, placed(mirror.Range, fmt.Errorf("mirror %q: descriptors: %w", mirror.Backend, err))
		}
		all = append(all, grpcproxy.Mirror{
			Backend: mirror.Backend, Percent: mirror.Percent, Compare: mirror.Compare, Ignore: mirror.Ignore,
			Descriptors: string(set), Samples: mirror.Samples,
		})
	}
	return all, nil
}

func retryOf(r *config.Retry) grpcproxy.Retry {
	if r == nil {
		return grpcproxy.Retry{}
	}
	retry := grpcproxy.Retry{Attempts: r.Attempts, Budget: r.Budget, BackoffFirst: r.Backoff}
	for _, code := range r.On {
		retry.On = append(retry.On, codes.Code(code))
	}
	return retry
}

// backendTLS reads the files; a reload finds those that have changed.
func backendTLS(f *config.BackendTLS) (*grpcproxy.TLS, error) {
	if f == nil {
		return nil, nil
	}
	t := new(grpcproxy.TLS)
	for path, to := range map[string]*string{f.CA: &t.CA, f.Cert: &t.Cert, f.Key: &t.Key} {
		text, err := readSmall(path)
		if err != nil {
			return nil, err
		}
		*to = string(text)
	}
	return t, nil
}
