package main

// The meter: who still speaks ZeroMQ, and its file.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"gateway/backends/bridge"
	"gateway/backends/grpcproxy"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/resource"
	"gateway/sniff"
)

const (
	meterSaveEvery = time.Minute
	meterBytesMax  = 64 << 20

	// Accounts of those whom no block and no route names.
	accountGRPC = "grpc"
	accountNone = "(no block)"
)

// meter keeps account of who still speaks ZeroMQ.
type meter = bridge.Meter

// ledger keeps account of gRPC clients, by the service that a route names.
type ledger struct{ meter *meter }

func (l *ledger) Come(service string, client net.Addr) grpcproxy.Account {
	return l.meter.Service(cmp.Or(service, accountGRPC)).Come("grpc", client)
}

// account opens the account of a ZeroMQ connection. Those of zmq blocks are kept where their messages are seen.
func (i *instance) account(to gateway.Choice, protocol string, client net.Addr) gateway.Account {
	switch {
	case protocol == sniff.ZMTP.Name && to.Block != nil:
		if _, seen := to.Block.Handler.(inletHandler); seen {
			return nil
		}
		return i.meter.Service(to.Block.Name).Come("zmq", client)
	case protocol == sniff.ZMTP.Name:
		return i.meter.Service(accountNone).Come("zmq", client)
	}
	return nil
}

// meterFile keeps the meter in a file, if one is named.
func (i *instance) meterFile(change *resource.Change, path string) error {
	if path == "" {
		return nil
	}
	_, err := resource.Use(change, "meter", path, func() (struct{}, resource.Retire, error) {
		saved, err := readMeter(path)
		if err != nil {
			return struct{}{}, nil, err
		}
		stop := make(chan struct{})
		i.onBegin(func() {
			if saved != nil && !i.metered {
				i.meter.Load(saved) // readMeter has tried
			}
			i.metered = true
			i.running.Go(func() { i.saveMeterUntil(stop, path) })
		})
		return struct{}{}, func(bool) { close(stop) }, nil
	})
	return err
}

// readMeter reads a meter's file that makes sense; nil if there is none yet.
func readMeter(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > meterBytesMax {
		err = fmt.Errorf("it is larger than %d bytes", meterBytesMax)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err == nil {
		err = new(meter).Load(text)
	}
	if err != nil {
		return nil, fmt.Errorf("the meter's file %s: %w; move it away, or name another", path, err)
	}
	return text, nil
}

// saveMeterUntil saves the meter again and again, and for the last time when stop is closed.
func (i *instance) saveMeterUntil(stop <-chan struct{}, path string) {
	ticker := time.NewTicker(meterSaveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			i.saveMeter(path)
		case <-stop:
			i.saveMeter(path)
			return
		}
	}
}

func (i *instance) saveMeter(path string) {
	text, err := i.meter.Save()
	if err == nil {
		err = writeAtomically(path, text)
	}
	if err != nil {
		i.log.Error("the meter was not saved", "file", path, "error", err)
	}
}

// writeAtomically puts text in the place of a file: whoever reads it finds the old or the new one, whole.
func writeAtomically(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // if that fails too, the first error says why
	}
	return err
}

// migrationStatus is who speaks what, and where messages go: what `gateway migration` shows.
type migrationStatus struct {
	Services []bridge.ServiceStatus   `json:"services,omitempty"`
	Ways     []wayStatus              `json:"ways,omitempty"`
	Mirrors  []grpcproxy.MirrorStatus `json:"mirrors,omitempty"` // of zmq blocks
	Backends []bridge.BackendStatus   `json:"zmq_backends,omitempty"`
}

// wayStatus is one way out of a zmq block.
type wayStatus struct {
	Block    string  `json:"block"`
	Method   string  `json:"method,omitempty"`
	Backend  string  `json:"backend"`
	Asked    float64 `json:"asked_percent"`
	Measured float64 `json:"measured_percent"` // since these weights
	Sent     int64   `json:"sent"`             // calls or messages, since then
}

// migration is how far the move from ZeroMQ is.
func (i *instance) migration(g *generation) *migrationStatus {
	s := &migrationStatus{Services: i.meter.Status()}
	for _, z := range g.config.ZMQs {
		in := g.inlets[z.Name]
		s.Ways = append(s.Ways, in.ways(z)...)
		if engine := in.inUse.Load(); engine != nil {
			for _, m := range engine.Status().Mirrors {
				m.Route = z.Name
				s.Mirrors = append(s.Mirrors, m)
			}
		}
	}
	for _, b := range g.config.Backends {
		if service := g.services[b.Name]; service != nil {
			s.Backends = append(s.Backends, service.Status())
		}
	}
	if len(s.Services) == 0 && len(s.Ways) == 0 && len(s.Backends) == 0 {
		return nil
	}
	return s
}

// ways are where a block's messages go, since these shares are asked.
func (in *inlet) ways(z config.ZMQ) (ways []wayStatus) {
	before, sent := in.shares.Load().before, in.sent()
	var weights, all float64
	for _, to := range z.To {
		if sent[to.Backend] >= before[to.Backend] { // else it is another backend by now, which counts from 0
			sent[to.Backend] -= before[to.Backend]
		}
		weights += float64(to.Weight)
		all += float64(sent[to.Backend])
	}
	for _, to := range z.To {
		w := wayStatus{Block: z.Name, Method: z.Method, Backend: to.Backend, Sent: sent[to.Backend], Asked: 100 * float64(to.Weight) / weights}
		if all > 0 {
			w.Measured = 100 * float64(w.Sent) / all
		}
		ways = append(ways, w)
	}
	return ways
}
