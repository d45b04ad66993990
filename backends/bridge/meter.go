package bridge

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// sourcesMax bounds the sources that a service remembers. Beyond it, who has been silent for longest is forgotten.
const sourcesMax = 10_000

// Meter keeps account of who still speaks ZeroMQ to which service. It outlives reloads. The zero value is empty.
type Meter struct {
	mu       sync.Mutex
	services map[string]*Service
}

// Service is the account of one service: of a zmq block, or of a grpc route that is beside it.
type Service struct {
	mu      sync.Mutex
	sources map[sourceKey]*source
	calls   map[codes.Code]int64
}

type sourceKey struct{ protocol, address string }

// source is who came from one address by one protocol.
type source struct {
	live        int
	connections int64
	messages    int64
	last        time.Time // of the last message, or of the coming
}

// visit is a connection of a source. A nil visit keeps no account.
type visit struct {
	service *Service
	source  *source
}

// ServiceStatus is a Service for people and programs.
type ServiceStatus struct {
	Service string           `json:"service"`
	Sources []SourceStatus   `json:"sources"`
	Calls   map[string]int64 `json:"calls"` // by status code
}

// SourceStatus is who came from one address by one protocol.
type SourceStatus struct {
	Protocol    string    `json:"protocol"`
	Address     string    `json:"address"`
	Live        int       `json:"live"`        // connections now
	Connections int64     `json:"connections"` // ever
	Messages    int64     `json:"messages"`    // that it sent
	Last        time.Time `json:"last"`        // when it last spoke
}

// Service returns the account of a service, which it opens if there is none.
func (m *Meter) Service(name string) *Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.services == nil {
		m.services = map[string]*Service{}
	}
	s := m.services[name]
	if s == nil {
		s = &Service{sources: map[sourceKey]*source{}, calls: map[codes.Code]int64{}}
		m.services[name] = s
	}
	return s
}

// Status returns all accounts, by name; in each the sources that spoke last come first.
func (m *Meter) Status() []ServiceStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]ServiceStatus, 0, len(m.services))
	for name, s := range m.services {
		all = append(all, s.status(name))
	}
	slices.SortFunc(all, func(a, b ServiceStatus) int { return strings.Compare(a.Service, b.Service) })
	return all
}

func (s *Service) status(name string) ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := ServiceStatus{Service: name, Sources: []SourceStatus{}, Calls: map[string]int64{}}
	for key, from := range s.sources {
		status.Sources = append(status.Sources, SourceStatus{
			key.protocol, key.address, from.live, from.connections, from.messages, from.last.Round(time.Second),
		})
	}
	slices.SortFunc(status.Sources, func(a, b SourceStatus) int {
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return strings.Compare(a.Address+a.Protocol, b.Address+b.Protocol)
	})
	for code, n := range s.calls {
		status.Calls[code.String()] = n
	}
	return status
}

// come notes a connection. A nil Service keeps no account.
func (s *Service) come(protocol string, remote net.Addr) *visit {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sourceKey{protocol, hostOf(remote)}
	from := s.sources[key]
	if from == nil {
		s.forgetOne()
		from = &source{}
		s.sources[key] = from
	}
	from.live++
	from.connections++
	from.last = time.Now()
	return &visit{s, from}
}

// forgetOne makes room for another source, if need be. s.mu is held.
func (s *Service) forgetOne() {
	if len(s.sources) < sourcesMax {
		return
	}
	var oldest sourceKey
	var last time.Time
	for key, from := range s.sources {
		if from.live == 0 && (last.IsZero() || from.last.Before(last)) {
			oldest, last = key, from.last
		}
	}
	delete(s.sources, oldest)
}

func (v *visit) spoke() {
	if v == nil {
		return
	}
	now := time.Now()
	v.service.mu.Lock()
	defer v.service.mu.Unlock()
	v.source.messages++
	v.source.last = now
}

func (v *visit) leave() {
	if v == nil {
		return
	}
	v.service.mu.Lock()
	defer v.service.mu.Unlock()
	v.source.live--
}

// called notes how a call ended.
func (v *visit) called(code codes.Code) {
	if v == nil {
		return
	}
	v.service.mu.Lock()
	defer v.service.mu.Unlock()
	v.service.calls[code]++
}

// hostOf is an address without its port: a new connection is the same source. A unix peer has none.
func hostOf(a net.Addr) string {
	if a == nil {
		return "unknown"
	}
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().String()
	}
	if at, err := netip.ParseAddrPort(a.String()); err == nil {
		return at.Addr().Unmap().String()
	}
	return a.Network()
}
