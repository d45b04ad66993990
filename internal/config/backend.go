package config

import (
	"fmt"
	"net/url"

	"github.com/hashicorp/hcl/v2"
)

// unknownBackend reports a name that no backend block has, or an address in its place.
func (r *reader) unknownBackend(at hcl.Range, name string, known []string) {
	wayOut := choose(name, known)
	_, problem := grpcTarget(item{name, at})
	switch {
	case problem == "":
		wayOut = fmt.Sprintf("An address stands in a backend block: backend \"greeter\" { grpc = [%q] }, and here its name.", name)
	case len(known) == 0 && blockName.MatchString(name):
		wayOut = fmt.Sprintf("Write one: backend %q { grpc = [\"127.0.0.1:50051\"] }", name)
	}
	r.errorAt(at, "Unknown backend", "No backend block has the name %s. %s", quoted(name), wayOut)
}

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
	switch {
	case b.GRPC == nil && b.ZMQ == nil:
		r.errorAt(b.DefRange, "A backend without targets", "Say where its servers are: grpc = [\"127.0.0.1:50051\"], or zmq = [\"tcp://127.0.0.1:5560\"] for a ZeroMQ service.")
	case b.GRPC != nil && b.ZMQ != nil:
		r.errorAt(b.ZMQ.NameRange, "A backend of two kinds", "%s speaks gRPC by one line and ZeroMQ by the other. Make a backend for each; a block can send to both.", quoted(b.Name))
	}
	r.checkKind(b)
	backend := Backend{Name: b.Name, Range: b.NameRange}
	if b.ZMQ != nil {
		targets, _ := r.list(b.ZMQ, "tcp://127.0.0.1:5560")
		backend.Targets = r.targets(targets, dialTarget)
		backend.ZMQ = r.zmqService(b)
		return backend
	}
	targets, _ := r.list(b.GRPC, "127.0.0.1:50051")
	backend.Targets = r.targets(targets, grpcTarget)
	backend.Balance = oneOf(r, b.Balance, LeastRequest, LeastRequest, RoundRobin, RingHash)
	backend.HashKey = r.hashKey(b, backend.Balance)
	backend.Health, _ = r.text(b.Health)
	backend.TLS = r.backendTLS(b.TLS)
	backend.Authority = r.authority(b)
	return backend
}

// checkKind reports words of the other kind of backend.
func (r *reader) checkKind(b backendSchema) {
	strangers, kind := []*hcl.Attribute{b.Socket, b.HWM, b.MaxMessage, b.Payload, b.TopicField, b.Descriptors, b.CurveServerKey, b.CurveSecretKey}, "zmq"
	if b.ZMQ != nil {
		strangers, kind = []*hcl.Attribute{b.Balance, b.Authority, b.HashKey, b.Health}, "grpc"
	}
	for _, a := range strangers {
		if a != nil {
			r.errorAt(a.NameRange, "A word of another kind of backend", "%s goes with %s = [...]. Remove the line.", a.Name, kind)
		}
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
