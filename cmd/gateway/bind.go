package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/hashicorp/hcl/v2"

	"gateway/internal/admin"
	"gateway/internal/bare"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/resource"
	"gateway/sniff"
)

// port is an exposed listener: a bound socket, and who accepts from it. Other settings of the same address make another
// port on the same socket, so that no client is refused in between.
type port struct {
	name    string
	addr    net.Addr
	sniffer *sniff.Server
}

// portSettings are what makes a port another one.
type portSettings struct {
	socket   *net.TCPListener
	listener config.Listener // without its place in the file
}

// port is the port of a listen block.
func (i *instance) port(change *resource.Change, l config.Listener) (*port, error) {
	socket, err := i.socket(change, l.Addr, l.Name)
	if err != nil {
		return nil, err
	}
	settings := portSettings{socket: socket, listener: l}
	settings.listener.Range = hcl.Range{}
	return resource.Use(change, "port "+l.Addr, settings, func() (*port, resource.Retire, error) {
		return i.open(socket, i.server.Attach(gateway.Listener{Name: l.Name, Sources: l.Source, Proxies: l.Proxies}, sniff.Options{
			Timeout:        l.SniffTimeout,
			ConnectionsMax: l.MaxConnections,
			SniffingMax:    l.MaxSniffing,
			Log:            i.log,
			Metrics:        i.metrics,
		}))
	})
}

// socket is the bound socket of an address. With port 0, any free one, each owner has its own.
func (i *instance) socket(change *resource.Change, addr, owner string) (*net.TCPListener, error) {
	name := "socket " + addr
	if _, port, _ := net.SplitHostPort(addr); port == "0" {
		name += " of " + owner
	}
	return resource.Use(change, name, nil, func() (*net.TCPListener, resource.Retire, error) {
		s, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, bindError(addr, err)
		}
		return s.(*net.TCPListener), func(bool) { s.Close() }, nil
	})
}

// open makes a port that will accept from a socket.
func (i *instance) open(socket *net.TCPListener, o sniff.Options) (*port, resource.Retire, error) {
	p := &port{name: o.Name, addr: socket.Addr(), sniffer: sniff.NewServer(o)}
	shared, err := bare.Listen(socket)
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

// filer is a listener whose socket can be shared.
type filer interface{ File() (*os.File, error) }

// duplicate is another listener on the same socket.
func duplicate(l filer) (net.Listener, error) {
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// adminPort is the admin server and where it listens.
type adminPort struct {
	addr   net.Addr
	server *admin.Server
}

// adminPort is the port of the admin block.
func (i *instance) adminPort(change *resource.Change, a config.Admin) (*adminPort, error) {
	a.Range = hcl.Range{}
	a.Token = "" // it is read from the configuration that is current
	return resource.Use(change, "admin "+a.Addr, a, func() (*adminPort, resource.Retire, error) {
		if a.Network == "unix" {
			removeStaleSocket(a.Addr)
		}
		l, err := net.Listen(a.Network, a.Addr)
		if err != nil {
			return nil, nil, bindError(a.Addr, err)
		}
		p := &adminPort{addr: l.Addr(), server: admin.New(i.adminOptions())}
		i.onBegin(func() {
			i.log.Info("listening", "name", "admin", "addr", p.addr.String())
			i.running.Go(func() {
				if err := p.server.Serve(l); err != nil {
					i.fail(fmt.Errorf("admin: %w", err))
				}
			})
		})
		return p, func(bool) {
			l.Close()
			i.running.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), cutGrace)
				defer cancel()
				if err := p.server.Shutdown(ctx); err != nil {
					i.log.Debug("admin requests were cut", "error", err)
				}
			})
		}, nil
	})
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

// removeStaleSocket removes a unix socket that an ended process left: nobody answers there.
func removeStaleSocket(path string) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	c, err := net.Dial("unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path) // if that fails, listening says why
	} else if err == nil {
		c.Close()
	}
}
