package dial

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// TestTargetIsToldWhoseConnectionItIs reads the header as a target does, and what follows it.
func TestTargetIsToldWhoseConnectionItIs(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "worker.sock")
		}
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		b := newBackend(t, Options{Targets: []string{network + "://" + l.Addr().String()}, ProxyHeader: true})
		near, done := serve(t, b)
		io.WriteString(near, "hello")
		near.CloseWrite()

		target, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		target.SetDeadline(time.Now().Add(patience))
		reader := bufio.NewReader(target)
		header, err := proxyproto.Read(reader)
		if err != nil {
			t.Fatal(err)
		}
		if header.Version != 2 || header.SourceAddr.String() != near.LocalAddr().String() || header.DestinationAddr.String() != near.RemoteAddr().String() {
			t.Errorf("%s: told %+v, want %v to %v", network, header, near.LocalAddr(), near.RemoteAddr())
		}
		if rest, err := io.ReadAll(reader); string(rest) != "hello" || err != nil {
			t.Errorf("%s: then came %q, %v", network, rest, err)
		}
		target.Close()
		if o := wait(t, done); o.Err != nil || o.Stats.AToB != int64(len("hello")) {
			t.Errorf("%s: %+v", network, o)
		}
	}
}
