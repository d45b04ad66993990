package config

import "net/url"

// backends reads the backend blocks.
func (r *reader) backends(blocks []backendSchema) []Backend {
	backends := make([]Backend, 0, len(blocks))
	for i, b := range blocks {
		for _, earlier := range blocks[:i] {
			if earlier.Name == b.Name {
				r.errorAt(b.NameRange, "Duplicate backend", "%s is defined at %s already. Put all targets into one block, or rename one.", quoted(b.Name), Place(earlier.NameRange))
				break
			}
		}
		backends = append(backends, r.backend(b))
	}
	return backends
}

func (r *reader) backend(b backendSchema) Backend {
	r.checkName("backend", b.Name, b.NameRange)
	if b.GRPC == nil {
		r.errorAt(b.DefRange, "A backend without targets", "Say where its servers are: grpc = [\"127.0.0.1:50051\"]")
	}
	targets, _ := r.list(b.GRPC, "127.0.0.1:50051")
	return Backend{
		Name:      b.Name,
		Targets:   r.targets(targets, grpcTarget),
		Balance:   oneOf(r, b.Balance, LeastRequest, LeastRequest, RoundRobin),
		Authority: r.authority(b),
		Range:     b.NameRange,
	}
}

// authority reads the :authority of RFC 9113 section 8.3.1: a host with or without a port.
func (r *reader) authority(b backendSchema) string {
	text, ok := r.text(b.Authority)
	if !ok {
		return ""
	}
	if u, err := url.Parse("//" + text); err != nil || u.Host != text || text == "" {
		r.errorAt(b.Authority.Expr.Range(), "Bad authority", "%s: an authority is a host name with or without a port, as in \"greeter.example\".", quoted(text))
	}
	return text
}
