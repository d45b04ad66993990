package bridge

import (
	"encoding/json"
	"fmt"
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

// Meter keeps account of who still speaks ZeroMQ to which service, and who speaks gRPC already. It outlives reloads, and by
// Save and Load a restart. The zero value is empty; it is safe for concurrent use.
type Meter struct {
	mu       sync.Mutex
	services map[string]*Service
}

// Service is the account of one service. A nil Service keeps none.
type Service struct {
	mu      sync.Mutex
	sources map[sourceKey]*Source
	calls   map[string]int64 // by status code
}

type sourceKey struct {
	protocol string
	address  netip.Addr // invalid: a unix socket
}

// Source is who came from one address by one protocol. A nil Source keeps no account.
type Source struct {
	service     *Service
	live        int
	connections int64
	messages    int64
	last        time.Time // of the last message, coming or leaving
}

// ServiceStatus is a Service for people and programs.
type ServiceStatus struct {
	Service string           `json:"service"`
	Sources []SourceStatus   `json:"sources"`
	Calls   map[string]int64 `json:"calls"` // that messages became, by status code
}

// SourceStatus is a Source for people and programs.
type SourceStatus struct {
	Protocol    string    `json:"protocol"`
	Address     string    `json:"address"` // "unix" for a unix socket
	Live        int       `json:"live"`    // connections now
	Connections int64     `json:"connections"`
	Messages    int64     `json:"messages"` // that it sent, where they are seen
	Last        time.Time `json:"last"`     // when it last came, spoke or left
	Ago         float64   `json:"ago_s"`    // seconds since then
}

// addressUnix stands for clients that have no address.
const addressUnix = "unix"

// Service returns the account of a service, which it opens if there is none.
func (m *Meter) Service(name string) *Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.services == nil {
		m.services = map[string]*Service{}
	}
	s := m.services[name]
	if s == nil {
		s = &Service{sources: map[sourceKey]*Source{}, calls: map[string]int64{}}
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
	status := ServiceStatus{Service: name, Sources: make([]SourceStatus, 0, len(s.sources)), Calls: map[string]int64{}}
	for key, from := range s.sources {
		address := addressUnix
		if key.address.IsValid() {
			address = key.address.String()
		}
		status.Sources = append(status.Sources, SourceStatus{
			key.protocol, address, from.live, from.connections, from.messages, from.last, time.Since(from.last).Seconds(),
		})
	}
	slices.SortFunc(status.Sources, func(a, b SourceStatus) int {
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return strings.Compare(a.Address+a.Protocol, b.Address+b.Protocol)
	})
	for code, n := range s.calls {
		status.Calls[code] = n
	}
	return status
}

// Come notes a connection. Left or Undone must follow.
func (s *Service) Come(protocol string, client net.Addr) *Source {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.source(sourceKey{protocol, hostOf(client)})
	from.live++
	from.connections++
	from.last = time.Now()
	return from
}

// source finds a source, or makes room for it and takes it in. s.mu is held.
func (s *Service) source(key sourceKey) *Source {
	if from := s.sources[key]; from != nil {
		return from
	}
	if len(s.sources) >= sourcesMax {
		s.forgetOne()
	}
	from := &Source{service: s}
	s.sources[key] = from
	return from
}

// forgetOne forgets the source that has been silent for longest. s.mu is held.
func (s *Service) forgetOne() {
	var oldest sourceKey
	var last time.Time
	for key, from := range s.sources {
		if from.live == 0 && (last.IsZero() || from.last.Before(last)) {
			oldest, last = key, from.last
		}
	}
	delete(s.sources, oldest)
}

// Spoke notes a message.
func (f *Source) Spoke() {
	if f == nil {
		return
	}
	now := time.Now()
	f.service.mu.Lock()
	defer f.service.mu.Unlock()
	f.messages++
	f.last = now
}

// Left notes the end of a connection.
func (f *Source) Left() {
	if f == nil {
		return
	}
	now := time.Now()
	f.service.mu.Lock()
	defer f.service.mu.Unlock()
	f.live--
	f.last = now
}

// Undone takes Come back.
func (f *Source) Undone() {
	if f == nil {
		return
	}
	f.service.mu.Lock()
	defer f.service.mu.Unlock()
	f.live--
	f.connections--
}

// called notes how a call ended.
func (s *Service) called(code codes.Code) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[code.String()]++
}

// Save returns the accounts as text, for Load.
func (m *Meter) Save() ([]byte, error) { return json.MarshalIndent(m.Status(), "", " ") }

// Load adds accounts that Save returned. Nobody of them is live.
func (m *Meter) Load(text []byte) error {
	var all []ServiceStatus
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("not the accounts of a meter: %w", err)
	}
	for _, saved := range all {
		if err := m.Service(saved.Service).load(saved); err != nil {
			return fmt.Errorf("service %q: %w", saved.Service, err)
		}
	}
	return nil
}

func (s *Service) load(saved ServiceStatus) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, from := range saved.Sources {
		key := sourceKey{protocol: from.Protocol}
		if from.Address != addressUnix {
			var err error
			if key.address, err = netip.ParseAddr(from.Address); err != nil {
				return err
			}
		}
		to := s.source(key)
		to.connections += from.Connections
		to.messages += from.Messages
		if from.Last.After(to.last) {
			to.last = from.Last
		}
	}
	for code, n := range saved.Calls {
		s.calls[code] += n
	}
	return nil
}

// hostOf is an address without its port: a new connection is the same source. That of a unix socket is not valid.
func hostOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	if a != nil {
		if at, err := netip.ParseAddrPort(a.String()); err == nil {
			return at.Addr().Unmap()
		}
	}
	return netip.Addr{}
}
