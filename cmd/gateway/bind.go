package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"syscall"

	"github.com/hashicorp/hcl/v2"

	"gateway/internal/admin"
	"gateway/internal/bare"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/handover"
	"gateway/internal/resource"
	"gateway/sniff"
)

// port is an exposed listener: a bound socket, and who accepts from it. Other settings of the same address make another
// port on the same socket, so that no client is refused in between.
type port struct {
	name    string
	addr    net.Addr
	sniffer *sniff.Server
	tls     *gateway.Termination // nil: TLS is not terminated
}

// portSettings are what makes a port another one.
type portSettings struct {
	socket   *handover.Socket
	listener config.Listener // without its place in the file
}

// port is the port of a listen block.
func (i *instance) port(change *resource.Change, l config.Listener) (*port, error) {
	socket, err := i.socket(change, l.Network, l.Addr, l.Name)
	if err != nil {
		return nil, err
	}
	settings := portSettings{socket: socket, listener: l}
	settings.listener.Range = hcl.Range{}
	return resource.Use(change, boundName("port", l.Addr, l.Name), settings, func() (*port, resource.Retire, error) {
		exposed, err := listenerOf(l, i.log)
		if err != nil {
			return nil, nil, err
		}
		p, retire, err := i.open(socket, i.server.Attach(exposed, sniff.Options{
			Timeout:        l.SniffTimeout,
			ConnectionsMax: l.MaxConnections,
			SniffingMax:    l.MaxSniffing,
			Log:            i.log,
			Metrics:        i.metrics,
			Watch:          watchOnLoops,
			Report:         reportEnds,
		}))
		if err == nil {
			p.tls = exposed.TLS
		}
		return p, retire, err
	})
}

// boundName names a resource at an address. With port 0, any free one, each owner has its own.
func boundName(kind, addr, owner string) string {
	name := kind + " " + addr
	if _, port, _ := net.SplitHostPort(addr); port == "0" {
		name += " of " + owner
	}
	return name
}

// socket is the bound socket of an address: inherited, kept by a reload, or new.
func (i *instance) socket(change *resource.Change, network, addr, owner string) (*handover.Socket, error) {
	return resource.Use(change, boundName("socket", addr, owner), network, func() (*handover.Socket, resource.Retire, error) {
		s, err := i.sockets.Listen(network, addr)
		if err != nil {
			return nil, nil, bindError(addr, err)
		}
		return s, func(bool) { s.Close() }, nil
	})
}

// open makes a port that will accept from a socket.
func (i *instance) open(socket *handover.Socket, o sniff.Options) (*port, resource.Retire, error) {
	p := &port{name: o.Name, addr: socket.Addr(), sniffer: sniff.NewServer(o)}
	shared, err := share(socket)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot share the socket of %s: %w", p.addr, err)
	}
	i.onBegin(func() {
		i.log.Info("listening", "name", p.name, "addr", p.addr.String())
		i.running.Go(func() {
			if err := p.sniffer.Serve(shared); err != nil {
				i.fail(err)
			}
		})
	})
	end := i.keep(func(ctx context.Context) int {
		if err := p.sniffer.Wait(ctx); err != nil {
			i.log.Debug("connections outlived their listener", "error", err)
		}
		return 0 // they are counted where they are cut
	})
	return p, func(replaced bool) {
		p.sniffer.Retire()
		shared.Close() // for one that never served
		end(replaced)
	}, nil
}

// share is another listener on a socket. TCP connections come as bare descriptors, which cost less to pass on.
func share(socket *handover.Socket) (net.Listener, error) {
	if tcp, ok := socket.Listener.(*net.TCPListener); ok {
		return bare.Listen(tcp)
	}
	return socket.Share()
}

// adminPort is the admin server and where it listens.
type adminPort struct {
	addr     net.Addr
	server   *admin.Server
	listener net.Listener
}

// adminPort is the port of the admin block.
func (i *instance) adminPort(change *resource.Change, a config.Admin) (*adminPort, error) {
	socket, err := i.socket(change, a.Network, a.Addr, "admin")
	if err != nil {
		return nil, err
	}
	return resource.Use(change, "admin "+a.Addr, socket, func() (*adminPort, resource.Retire, error) {
		shared, err := socket.Share()
		if err != nil {
			return nil, nil, fmt.Errorf("cannot share the socket of %s: %w", a.Addr, err)
		}
		p := &adminPort{addr: socket.Addr(), server: admin.New(i.adminOptions()), listener: sniff.Patient(shared)}
		i.onBegin(func() {
			i.log.Info("listening", "name", "admin", "addr", p.addr.String())
			i.running.Go(func() {
				if err := p.server.Serve(p.listener); err != nil {
					i.fail(fmt.Errorf("admin: %w", err))
				}
			})
		})
		return p, func(bool) { i.running.Go(func() { p.close(i.log) }) }, nil
	})
}

// close ends the admin server: requests in flight have a moment. It can be called more than once.
func (p *adminPort) close(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), cutGrace)
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil {
		log.Debug("admin requests were cut", "error", err)
	}
	p.listener.Close() // for one that never served
}

// bindError says what to do about an address that cannot be listened on.
func bindError(addr string, err error) error {
	_, port, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && port != "":
		return fmt.Errorf("cannot listen on %s: another program has port %s (see who: ss -ltnp 'sport = :%s'); end it, or choose another port here", addr, port, port)
	case errors.Is(err, syscall.EACCES) || errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot listen on %s: no permission; ports below 1024 need root or CAP_NET_BIND_SERVICE", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: this machine has no such address (see them: ip addr)", addr)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}
