package main

// Browsers: the sockets towards programs, and what a configuration makes of a SockJS server.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/hcl/v2"

	"gateway/backends/sockjs"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/handover"
	"gateway/internal/metrics"
	"gateway/internal/resource"
	"gateway/internal/zmtp"
)

// programWait is how long a prefix that ends waits for its programs to hear of it: one that is away may never come back.
const programWait = 5 * time.Second

// programs are the sockets of a sockjs block towards its programs. They outlive a server whose other settings change: its
// sessions end, and the next server goes on with the same programs.
type programs struct {
	push, pull *zmtp.Socket
	server     atomic.Pointer[sockjs.Server] // gets what programs say
	users      sync.WaitGroup                // servers that may still send
	lost       atomic.Int64                  // messages that left with a program, as far as they are counted
}

// programSettings are what makes programs other ones.
type programSettings struct {
	push, pull string
	connect    bool
	hwm        int
	secret     config.Secret
	serverKey  string
	clients    []zmtp.PublicKey    // that may come; nil: all
	sockets    [2]*handover.Socket // none where the gateway connects
}

// browsers is the server of a sockjs block.
func (i *instance) browsers(change *resource.Change, s config.SockJS) (*sockjs.Server, error) {
	p, err := i.programs(change, s)
	if err != nil {
		return nil, err
	}
	s.Range, s.Push.Range, s.Pull.Range = hcl.Range{}, hcl.Range{}, hcl.Range{}
	settings := struct {
		config   config.SockJS
		programs *programs
	}{s, p}
	return resource.Use(change, "sockjs "+s.Prefix, settings, func() (*sockjs.Server, resource.Retire, error) {
		o := sockJSOptions(s, i.log, i.metrics)
		o.Send, o.Peers = p.push.Send, func() int { return p.push.Status().Peers }
		var folder *os.Root
		if s.Static != "" {
			if folder, err = os.OpenRoot(s.Static); err != nil {
				return nil, nil, fmt.Errorf("static: %w", err)
			}
			o.Static = folder.FS()
		}
		server, err := sockjs.New(o)
		if err != nil {
			return nil, nil, err
		}
		p.users.Add(1)
		i.onBegin(func() { p.server.Store(server) })
		return server, i.keep(func(ctx context.Context) int {
			defer p.users.Done()
			ctx, cancel := context.WithTimeout(ctx, programWait)
			defer cancel()
			if untold := server.Shutdown(ctx); untold > 0 {
				i.log.Warn("no program heard that these sessions ended", "block", o.Block, "sessions", untold)
			}
			if folder != nil {
				folder.Close()
			}
			return 0 // connections are counted where they are cut
		}), nil
	})
}

// programs are the sockets of a sockjs block.
func (i *instance) programs(change *resource.Change, s config.SockJS) (*programs, error) {
	settings := programSettings{
		push: s.Push.Text, pull: s.Pull.Text, connect: s.Connect, hwm: s.HWM,
		secret: s.CurveSecretKey, serverKey: s.CurveServerKey,
	}
	var err error
	if s.CurveClients != "" {
		if settings.clients, err = zmtp.LoadPublicKeys(s.CurveClients); err != nil {
			return nil, fmt.Errorf("curve_clients: %w", err)
		}
	}
	security, err := programSecurity(s, settings.clients)
	if err != nil {
		return nil, err
	}
	if !s.Connect {
		for at, t := range []config.Target{s.Push, s.Pull} {
			if settings.sockets[at], err = i.socket(change, t.Network, t.Address, fmt.Sprintf("sockjs %s %d", s.Prefix, at)); err != nil {
				return nil, placed(t.Range, err)
			}
		}
	}
	return resource.Use(change, "programs "+s.Prefix, settings, func() (*programs, resource.Retire, error) {
		p, err := i.newPrograms(s, security)
		if err != nil {
			return nil, nil, err
		}
		var shared [2]net.Listener
		for at, socket := range settings.sockets {
			if socket == nil {
				continue
			}
			if shared[at], err = socket.Share(); err != nil {
				return nil, nil, fmt.Errorf("cannot share the socket of %s: %w", socket.Addr(), err)
			}
		}
		i.onBegin(func() { i.meet(p, s, shared) })
		return p, i.keep(func(context.Context) int {
			p.users.Wait()
			i.part(p, s.Prefix, shared)
			return 0
		}), nil
	})
}

func (i *instance) newPrograms(s config.SockJS, security zmtp.Security) (*programs, error) {
	p := &programs{}
	o := zmtp.SocketOptions{
		Options:          zmtp.Options{SocketType: zmtp.PUSH, Security: security},
		QueueMessagesMax: s.HWM,
		Changed:          func(l *zmtp.Link, up bool, err error) { i.programChanged(p, s.Prefix, l, up, err) },
		ConnectFailed: func(endpoint string, err error) {
			i.log.Debug("a program cannot be reached", "block", s.Prefix, "endpoint", endpoint, "error", err)
		},
	}
	var err error
	if p.push, err = zmtp.NewSocket(o); err != nil {
		return nil, err
	}
	o.SocketType = zmtp.PULL
	o.Receive = func(_ *zmtp.Link, m *zmtp.Message) {
		if server := p.server.Load(); server != nil { // before the first there are no sessions to speak to
			server.Deliver(m)
		}
	}
	p.pull, err = zmtp.NewSocket(o)
	return p, err
}

// meet has programs come, or dials them where nothing is shared.
func (i *instance) meet(p *programs, s config.SockJS, shared [2]net.Listener) {
	for at, socket := range []*zmtp.Socket{p.push, p.pull} {
		text := []config.Target{s.Push, s.Pull}[at].Text
		if shared[at] == nil {
			if err := socket.Connect(text); err != nil {
				i.fail(fmt.Errorf("sockjs %q: %w", s.Prefix, err))
			}
			continue
		}
		i.log.Info("listening for programs", "block", s.Prefix, "socket", []string{"PUSH", "PULL"}[at], "addr", shared[at].Addr().String())
		i.running.Go(func() {
			if err := socket.Serve(shared[at]); err != nil {
				i.fail(fmt.Errorf("sockjs %q: %w", s.Prefix, err))
			}
		})
	}
}

// part lets programs take what was sent to them, and closes.
func (i *instance) part(p *programs, block string, shared [2]net.Listener) {
	ctx, cancel := context.WithTimeout(context.Background(), cutGrace)
	defer cancel()
	for at, socket := range []*zmtp.Socket{p.push, p.pull} {
		if err := socket.Close(ctx); err != nil {
			i.log.Warn("programs did not take all that was sent to them", "block", block, "error", err)
		}
		if shared[at] != nil {
			shared[at].Close() // for one that never served
		}
	}
}

// programChanged tells of a program that came or left, and counts what was in its queue.
func (i *instance) programChanged(p *programs, block string, l *zmtp.Link, up bool, err error) {
	log := i.log.With("block", block, "program", l.RemoteAddr().String(), "socket", string(l.Peer().SocketType()))
	if up {
		log.Info("a program came")
		return
	}
	dropped := p.push.Status().Dropped
	lost := dropped - p.lost.Swap(dropped)
	i.metrics.SockJS.Dropped.WithLabelValues(block, "program_lost").Add(float64(max(lost, 0)))
	log.Info("a program left", "error", err, "lost", lost)
}

// programSecurity is how programs must come, or how the gateway comes to them.
func programSecurity(s config.SockJS, known []zmtp.PublicKey) (zmtp.Security, error) {
	var secret zmtp.SecretKey
	if s.CurveSecretKey != "" {
		file, err := zmtp.ParseKeyFile([]byte(s.CurveSecretKey))
		if err == nil {
			secret, err = file.SecretKey()
		}
		if err != nil {
			return nil, fmt.Errorf("curve_secret_key: %w", err)
		}
	}
	switch {
	case s.CurveServerKey != "":
		key, err := zmtp.ParsePublicKey(s.CurveServerKey)
		if err != nil {
			return nil, fmt.Errorf("curve_server_key: %w", err)
		}
		o := zmtp.CurveClient{Server: key}
		if s.CurveSecretKey != "" {
			o.Pair = zmtp.KeyPair{Public: secret.Public(), Secret: secret}
		}
		return o, nil
	case s.CurveSecretKey == "":
		return zmtp.Null{}, nil
	case known == nil:
		return zmtp.CurveServer{Secret: secret}, nil
	}
	return zmtp.CurveServer{Secret: secret, Authenticate: func(client zmtp.PublicKey) error {
		if !slices.ContainsFunc(known, client.Equal) {
			return errors.New("this key is not in curve_clients")
		}
		return nil
	}}, nil
}

func sockJSOptions(s config.SockJS, log *slog.Logger, m *metrics.Metrics) sockjs.Options {
	return sockjs.Options{
		Block:              s.Prefix,
		Prefix:             s.Prefix,
		RefuseWithoutPeer:  s.NoPeer == config.NoPeerRefuse,
		SessionsMax:        s.MaxSessions,
		MessageBytesMax:    int(s.MaxMessage),
		SendBufferBytesMax: int(s.SendBuffer),
		Heartbeat:          s.Heartbeat,
		DisconnectDelay:    s.DisconnectDelay,
		Origins:            s.Origins,
		NoWebSocket:        !s.WebSocket,
		Cookie:             s.Cookie,
		ClientAddress:      s.ClientAddress,
		ClientHeaders:      s.ClientHeaders,
		Log:                log,
		Metrics:            m.SockJS,
	}
}

// filesAt serves a folder at and below a path.
func filesAt(prefix string, folder fs.FS) gateway.HTTPRoute {
	return gateway.HTTPRoute{Prefix: prefix, Handler: sockjs.NewFiles(prefix, folder)}
}
