package grpcproxy

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/test/bufconn"
)

// TestSilentPeerIsAskedAndThenEnded has a caller and a backend that say nothing for longer than Keepalive: one that answers
// the PING stays, one that does not is ended, and the backend's call with it.
func TestSilentPeerIsAskedAndThenEnded(t *testing.T) {
	const keepalive = time.Minute
	for name, deaf := range map[string]struct{ caller, backend bool }{
		"both answer": {false, false}, "the caller is gone": {true, false}, "the backend is gone": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := bufconn.Listen(1 << 16)
				defer func() { _ = memory.Close() }()
				o := everything()
				o.Keepalive, o.Backends = keepalive, []Backend{{Name: "b", Dial: dialFunc(memory.DialContext)}}
				proxy, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				outer := bufconn.Listen(1 << 16)
				defer func() { _ = outer.Close() }()
				go func() {
					if theirs, err := outer.Accept(); err == nil {
						proxy.serveSocket(theirs, nil)
					}
				}()
				socket, err := outer.DialContext(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				caller := newRawPeer(t, socket)
				caller.must(socket.SetDeadline(time.Time{}))
				_, err = socket.Write([]byte(http2.ClientPreface))
				caller.must(err)
				caller.must(caller.WriteSettings())
				caller.must(caller.call(1, true))
				inner, err := memory.Accept()
				if err != nil {
					t.Fatal(err)
				}
				backend := newRawPeer(t, inner)
				backend.must(inner.SetDeadline(time.Time{}))
				_, err = inner.Read(make([]byte, len(http2.ClientPreface)))
				backend.must(err)
				backend.must(backend.WriteSettings())
				if backend.until(headersOn(1)) == nil {
					t.Fatal("the call did not come")
				}
				callerEnded, backendEnded := listenOn(caller, deaf.caller), listenOn(backend, deaf.backend)
				time.Sleep(2*keepalive + 2*pingWait)
				synctest.Wait()
				if got := ended(callerEnded); got != deaf.caller {
					t.Errorf("the caller's connection has ended: %v", got)
				}
				if got := ended(backendEnded); got != deaf.backend {
					t.Errorf("the backend's connection has ended: %v", got)
				}
				_, _ = socket.Close(), inner.Close()
				<-callerEnded
				<-backendEnded
				if err := proxy.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// listenOn reads until the connection ends, and answers PINGs unless deaf.
func listenOn(p *rawPeer, deaf bool) (end chan struct{}) {
	end = make(chan struct{})
	p.silent = deaf
	go func() {
		p.until(func(http2.Frame) bool { return false })
		close(end)
	}()
	return end
}

func ended(end chan struct{}) bool {
	select {
	case <-end:
		return true
	default:
		return false
	}
}
