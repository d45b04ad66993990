package sniff

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoIsNotAdmittedIsClosedCountedAndLogged(t *testing.T) {
	var left atomic.Int32
	admit := func(client net.Addr) (func(), string) {
		if client.(*net.TCPAddr).IP.Equal(net.IPv4(127, 0, 0, 1)) {
			return func() { left.Add(1) }, ""
		}
		return nil, "source"
	}
	p := open(t, Options{Admit: admit, ProxyFrom: func(peer net.Addr) bool { return peer.(*net.TCPAddr).IP.Equal(net.IPv4(127, 0, 0, 3)) }})
	from := func(host, first string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
		c, err := d.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.Write([]byte(first))
		return c
	}
	expectEnd(t, from("127.0.0.2", "SSH-"))
	expectEnd(t, from("127.0.0.3", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nSSH-"))
	from("127.0.0.3", "PROXY TCP4 127.0.0.1 192.0.2.2 1 2\r\nSSH-")
	behind := p.next()
	from("127.0.0.1", "SSH-")
	direct := p.next()
	if n := left.Load(); n != 0 {
		t.Errorf("%d have left while all are open", n)
	}
	behind.end()
	direct.end()
	direct.release()
	if n := left.Load(); n != 2 {
		t.Errorf("%d have left, want 2", n)
	}
	shutdown(t, p.server)
	if p.refused("source") != 2 || p.results("refused") != 2 || p.log.count("reason=source") != 1 {
		t.Errorf("%d refused: %s", p.refused("source"), p.log)
	}
}

func TestRefusedClientShowsWhatItIsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		taken := make(chan handed, 10)
		p := openOn(t, l, Options{
			SniffingMax: 2 * refusingShare,
			Admit:       func(net.Addr) (func(), string) { return nil, "per_source" },
			Otherwise: func(c *Conn, result Result, why error, release func()) bool {
				if c.Protocol() != "zmtp" {
					return false
				}
				if result != Refused || why.Error() != "per_source" {
					t.Errorf("%v because of %v", result, why)
				}
				taken <- handed{c, release}
				return true
			},
		})
		started := time.Now()
		silent := [2]net.Conn{l.dial(), l.dial()}
		synctest.Wait()
		over := l.dial() // no slot is left in which it could show anything
		expectEnd(t, over)
		if d := time.Since(started); d != 0 {
			t.Errorf("closed after %v, want at once", d)
		}
		for _, c := range silent {
			expectEnd(t, c)
		}
		if d := time.Since(started); d != refusedWaitMax {
			t.Errorf("a silent one was closed after %v", d)
		}
		libzmq := l.dial()
		libzmq.Write(zmtpSample[:10])
		c := <-taken
		if string(c.Prefix()) != string(zmtpSample[:10]) {
			t.Errorf("%x is kept", c.Prefix())
		}
		c.end()
		p.server.Close()
		if n := p.refused("per_source"); n != 4 {
			t.Errorf("%d refused", n)
		}
	})
}
