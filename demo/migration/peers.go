package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
)

const (
	answerWait      = 30 * time.Second
	askEvery        = 2 * time.Millisecond
	requestsOfAConn = 50 // then an old client comes again, as clients do
)

// tally knows of each request who asked it and how often it was served and answered.
type tally struct {
	mu       sync.Mutex
	stage    int
	next     int
	requests map[string]*request
	answered int
	troubles []string
}

type request struct {
	mirrored         bool // in a stage in which the new service gets copies
	served, answered int
}

func newTally() *tally { return &tally{requests: map[string]*request{}} }

// troublesMax bounds what a verdict tells in words.
const troublesMax = 10

// stageMirrored is the stage in which the new service gets copies.
const stageMirrored = 2

func (t *tally) enter(stage int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stage = stage
}

// ask makes a new request's name.
func (t *tally) ask(who string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	name := fmt.Sprintf("%s/%d", who, t.next)
	// One that is asked just before a stage ends may be served in the next.
	t.requests[name] = &request{mirrored: t.stage == stageMirrored || t.stage == stageMirrored-1}
	return name
}

func (t *tally) served(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.requests[name]; r != nil {
		r.served++
	}
}

// answer notes the answer to a request, or why there was none.
func (t *tally) answer(name, greeting string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && greeting != greet(name) {
		err = fmt.Errorf("answered %q", greeting)
	}
	if err != nil {
		t.troubles = append(t.troubles, fmt.Sprintf("%s in stage %d: %v", name, t.stage, err))
		return
	}
	t.requests[name].answered++
	t.answered++
}

func (t *tally) trouble(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.troubles = append(t.troubles, fmt.Sprintf(format, args...))
}

func (t *tally) answers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.answered
}

// verdict is nil if each request was served once and answered once.
func (t *tally) verdict() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	lost, twice := 0, 0
	for _, r := range t.requests {
		switch {
		case r.answered == 0:
			lost++
		case r.answered > 1 || r.served > 1 && !r.mirrored:
			twice++
		}
	}
	fmt.Printf("\n%d requests: %d lost, %d answered twice, %d troubles.\n", len(t.requests), lost, twice, len(t.troubles))
	if lost+twice+len(t.troubles) == 0 {
		return nil
	}
	return fmt.Errorf("%d lost, %d answered twice: %q", lost, twice, t.troubles[:min(len(t.troubles), troublesMax)])
}

func greet(name string) string { return "Hello, " + name + "!" }

// oldService is a REP of ZeroMQ.
type oldService struct {
	address string
	socket  *zmtp.Socket
	served  chan error
}

func startOldService(t *tally) (*oldService, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &oldService{address: l.Addr().String(), served: make(chan error, 1)}
	if s.socket, err = zmtp.NewSocket(zmtp.SocketOptions{Options: zmtp.Options{SocketType: zmtp.REP}}); err != nil {
		return nil, err
	}
	go func() { s.served <- s.socket.Serve(l) }()
	go func() {
		for m := (&zmtp.Message{}); s.socket.Recv(context.Background(), m) == nil; {
			var r demov1.HelloRequest
			if err := proto.Unmarshal(m.Part(0), &r); err != nil {
				t.trouble("the old service cannot read a request: %v", err)
			}
			t.served(r.Name)
			body, err := proto.Marshal(&demov1.HelloReply{Message: greet(r.Name), ServedBy: "old"})
			if err == nil {
				err = s.socket.Send(context.Background(), zmtp.NewMessage(body))
			}
			if err != nil {
				t.trouble("the old service cannot answer %s: %v", r.Name, err)
			}
		}
	}()
	return s, nil
}

func (s *oldService) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.socket.Close(ctx) // nobody waits for an answer
	<-s.served
}

// newService is a gRPC server.
type newService struct {
	demov1.UnimplementedGreeterServer
	address string
	tally   *tally
	server  *grpc.Server
}

func startNewService(t *tally) (*newService, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &newService{address: l.Addr().String(), tally: t, server: grpc.NewServer()}
	demov1.RegisterGreeterServer(s.server, s)
	reflection.Register(s.server)
	go func() {
		if err := s.server.Serve(l); err != nil {
			t.trouble("the new service: %v", err)
		}
	}()
	return s, nil
}

func (s *newService) SayHello(_ context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
	s.tally.served(r.Name)
	return &demov1.HelloReply{Message: greet(r.Name), ServedBy: "new"}, nil
}

func (s *newService) stop() { s.server.GracefulStop() }

// oldClient asks by ZeroMQ until it is retired, over one connection after the other.
func (p *play) oldClient(i int) {
	p.oldOnes.Add(1)
	defer p.oldOnes.Done()
	stop := p.oldStop
	for {
		conn, err := p.dialOld(p.ctx)
		if err != nil {
			if p.ctx.Err() == nil {
				p.tally.trouble("old client %d was not let in: %v", i, err)
			}
			return
		}
		for range requestsOfAConn {
			select {
			case <-stop:
				_ = conn.Close() // it owes no answer
				return
			case <-time.After(askEvery):
			}
			name := p.tally.ask(fmt.Sprint("old ", i))
			greeting, err := askOld(conn, name)
			p.tally.answer(name, greeting, err)
			if err != nil {
				_ = conn.Close() // the error is told
				return
			}
		}
		_ = conn.Close() // it owes no answer
	}
}

func (p *play) dialOld(ctx context.Context) (*zmtp.Conn, error) {
	return zmtp.Dial(ctx, "tcp", p.addresses["127.0.0.1:5555"], zmtp.Options{SocketType: zmtp.REQ})
}

// tryOld is one request of an old client that expects little, until ctx ends.
func (p *play) tryOld(ctx context.Context) error {
	conn, err := p.dialOld(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = askOld(conn, "stranger")
	return err
}

func askOld(conn *zmtp.Conn, name string) (greeting string, err error) {
	watchdog := time.AfterFunc(answerWait, func() { _ = conn.Close() })
	defer watchdog.Stop()
	body, err := proto.Marshal(&demov1.HelloRequest{Name: name})
	if err != nil {
		return "", err
	}
	m := zmtp.NewMessage(nil, body)
	if err := errors.Join(conn.Send(context.Background(), m), conn.Recv(m)); err != nil {
		return "", err
	}
	if m.Len() != 2 || len(m.Part(0)) > 0 {
		return "", fmt.Errorf("the reply is %q", m.Parts())
	}
	var reply demov1.HelloReply
	err = proto.Unmarshal(m.Part(1), &reply)
	return reply.Message, err
}

// newClient asks by gRPC until the play is over.
func (p *play) newClient(i int) {
	conn, err := grpc.NewClient("passthrough:///"+p.addresses["127.0.0.1:5555"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.tally.trouble("new client %d: %v", i, err)
		return
	}
	defer conn.Close()
	client := demov1.NewGreeterClient(conn)
	for {
		select {
		case <-p.newStop:
			return
		case <-time.After(askEvery):
		}
		name := p.tally.ask(fmt.Sprint("new ", i))
		ctx, cancel := context.WithTimeout(context.Background(), answerWait)
		reply, err := client.SayHello(ctx, &demov1.HelloRequest{Name: name})
		cancel()
		p.tally.answer(name, reply.GetMessage(), err)
	}
}
