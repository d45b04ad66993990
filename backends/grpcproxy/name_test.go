package grpcproxy

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

// nameServer is a DNS server whose answers the test sets.
type nameServer struct {
	mu        sync.Mutex
	addresses map[string][]string // of a name, which ends in "."
	services  map[string][]dnsmessage.SRVResource
}

func (s *nameServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// resolver starts the server and returns a resolver that asks it alone.
func (s *nameServer) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := s.reply(t, buf[:n]); reply != nil {
				_, _ = socket.WriteTo(reply, from) // who asked may be gone
			}
		}
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func (s *nameServer) reply(t *testing.T, query []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.Additionals, m.RCode = true, nil, dnsmessage.RCodeSuccess
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
	name := strings.ToLower(q.Name.String())
	switch q.Type {
	case dnsmessage.TypeA:
		for _, text := range s.addresses[name] {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: [4]byte(net.ParseIP(text).To4())}})
		}
	case dnsmessage.TypeSRV:
		for _, service := range s.services[name] {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &service})
		}
	}
	if s.addresses[name] == nil && s.services[name] == nil {
		m.RCode = dnsmessage.RCodeNameError
	}
	packed, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return packed
}

// startOn serves name on an address of the loopback network.
func startOn(t *testing.T, address, name string) *grpc.Server {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, named(name))
	serve(t, server, l)
	return server
}

// startOnOnePort serves each name on an address of its own, all of them on one port.
func startOnOnePort(t *testing.T, names ...string) (addresses []string, port string) {
	t.Helper()
	var all []net.Listener
	for range 100 { // a program that listens on all addresses may have the port
		l := listenApart(t)
		all, port = []net.Listener{l}, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		for len(all) < len(names) {
			next, err := net.Listen("tcp", net.JoinHostPort(apart(), port))
			if err != nil {
				break
			}
			all = append(all, next)
		}
		if len(all) == len(names) {
			break
		}
		for _, l := range all {
			_ = l.Close()
		}
	}
	if len(all) != len(names) {
		t.Fatal("no port is free on every address")
	}
	for i, name := range names {
		server := grpc.NewServer()
		testgrpc.RegisterTestServiceServer(server, named(name))
		serve(t, server, all[i])
		addresses = append(addresses, all[i].Addr().(*net.TCPAddr).IP.String())
	}
	return addresses, port
}

// answerers makes calls until each of names has answered, and none else.
func answerers(t *testing.T, client testgrpc.TestServiceClient, names ...string) {
	t.Helper()
	eventually(t, "answers come from "+strings.Join(names, " and ")+" alone", func() bool {
		got := map[string]bool{}
		for range 20 {
			r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
			if err != nil {
				t.Fatal(err)
			}
			got[r.ServerId] = true
		}
		for _, name := range names {
			if !got[name] {
				return false
			}
		}
		return len(got) == len(names)
	})
}

func TestNameIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	at, port := startOnOnePort(t, "one", "two", "three")
	s := &nameServer{addresses: map[string][]string{"greeter.test.": at[:2]}}
	o := everything("dns:///greeter.test.:" + port)
	o.Resolver = s.resolver(t)
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	answerers(t, client, "one", "two")
	s.set(func() { s.addresses["greeter.test."] = at[1:] })
	p.table.Load().rest[0].backends[0].askAgain() // as a lost connection does
	answerers(t, client, "two", "three")
}

// Of two names one may be gone for a while: its targets are still there.
func TestNameThatCannotBeLookedUpKeepsItsTargetsBesideAnother(t *testing.T) {
	t.Parallel()
	at, port := startOnOnePort(t, "one", "two", "three")
	s := &nameServer{addresses: map[string][]string{"old.test.": at[:1], "new.test.": at[1:2]}}
	o := everything("old.test.:"+port, "new.test.:"+port)
	o.Resolver = s.resolver(t)
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	answerers(t, client, "one", "two")
	s.set(func() {
		delete(s.addresses, "old.test.")
		s.addresses["new.test."] = at[2:]
	})
	p.table.Load().rest[0].backends[0].askAgain()
	answerers(t, client, "one", "three")
}

// record is a service record of a server at address, which the name server knows as host.
func record(t *testing.T, host, address string, priority, weight uint16) dnsmessage.SRVResource {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return dnsmessage.SRVResource{Priority: priority, Weight: weight, Port: uint16(tcp.Port), Target: dnsmessage.MustNewName(host)}
}

// services is a name server that knows one service, and its hosts by the name a.test.
func services(records ...dnsmessage.SRVResource) *nameServer {
	return &nameServer{
		addresses: map[string][]string{"a.test.": {"127.0.0.1"}},
		services:  map[string][]dnsmessage.SRVResource{"_grpc._tcp.greeter.test.": records},
	}
}

func TestServiceRecordTellsHostsAndPorts(t *testing.T) {
	s := services(record(t, "a.test.", startService(t, named("one")), 1, 1), record(t, "a.test.", startService(t, named("two")), 1, 1),
		record(t, "a.test.", startService(t, named("spare")), 2, 1))
	o := everything("srv:///greeter.test.")
	o.Resolver = s.resolver(t)
	answerers(t, testgrpc.NewTestServiceClient(connect(t, startProxy(t, o))), "one", "two")
}

func TestServiceRecordsShareCallsByWeight(t *testing.T) {
	t.Parallel()
	const calls = 200
	for balance, least := range map[string]int{roundRobin: 73, leastRequest: 70, ringHash: 50} { // per cent, of 75
		t.Run(balance, func(t *testing.T) {
			t.Parallel()
			s := services(record(t, "a.test.", startService(t, named("heavy")), 1, 30), record(t, "a.test.", startService(t, named("light")), 1, 10),
				record(t, "a.test.", startService(t, named("hardly")), 1, 0), record(t, "a.test.", startService(t, named("spare")), 2, 50))
			o := everything("srv:///greeter.test.")
			o.Backends[0].Balance, o.Backends[0].HashKey, o.Resolver = balance, "x-user", s.resolver(t)
			p, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
			got := map[string]int{}
			call := func(n int) {
				ctx := metadata.AppendToOutgoingContext(testContext(t), "x-user", strconv.Itoa(n))
				r, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{})
				if err != nil {
					t.Fatal(err)
				}
				got[r.ServerId]++
			}
			eventually(t, "the three of the first priority are connected", func() bool {
				call(rand.Int())
				connected := 0
				for _, target := range p.Status().Backends[0].Targets {
					connected += target.Connections
				}
				return connected == 3
			})
			clear(got)
			for n := range calls {
				call(n)
			}
			if n := got["heavy"]; n < calls*least/100 || n > calls*(150-least)/100 || got["hardly"] > calls*3/100 || got["spare"] > 0 {
				t.Errorf("calls were shared %v by the weights 30, 10 and 0", got)
			}
		})
	}
}

func TestSpareTargetOfAServiceAnswersOnlyForTheFirst(t *testing.T) {
	t.Parallel()
	l := listenApart(t)
	first := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(first, named("first"))
	serve(t, first, l)
	s := services(record(t, "b.test.", l.Addr().String(), 10, 0), record(t, "a.test.", startService(t, named("spare")), 20, 0))
	s.addresses["b.test."] = []string{l.Addr().(*net.TCPAddr).IP.String()}
	o := everything("srv:///greeter.test.")
	o.Resolver = s.resolver(t)
	o.Routes[0].Retry = Retry{Attempts: 3}
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	answerers(t, client, "first")
	first.Stop()
	answerers(t, client, "spare")
	startOn(t, l.Addr().String(), "first again")
	answerers(t, client, "first again")
}

func TestUnknownNameIsToldAndLookedUpAgain(t *testing.T) {
	t.Parallel()
	address := startService(t, named("b"))
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{addresses: map[string][]string{}}
	o := everything("greeter.test.:" + port)
	o.Resolver = s.resolver(t)
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err == nil {
		t.Fatal("a call to a name that nobody knows was answered")
	}
	if got := p.Status().Backends[0].LastError; !strings.Contains(got, "greeter.test") {
		t.Errorf("status says %q", got)
	}
	s.set(func() { s.addresses["greeter.test."] = []string{"127.0.0.1"} })
	eventually(t, "the name is found", func() bool {
		_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		return err == nil
	})
}
