package relay

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	shortClients  = 16      // that come and go at the same time
	heapGrowthMax = 2 << 20 // bytes
	warmUpAmount  = shortConnections / 10
)

// Connections that come and go leave neither memory nor descriptors behind.
func TestShortConnectionsLeaveNothing(t *testing.T) {
	g := new(Group)
	worker, gateway := listen(t), listen(t)
	serve(worker, func(c net.Conn) { io.Copy(c, c); c.Close() })
	serve(gateway, func(c net.Conn) {
		w, err := net.Dial("tcp", worker.Addr().String())
		if err != nil {
			t.Error(err)
			c.Close()
			return
		}
		g.Relay(c, w, Limits{}, func(Stats, error) {})
	})
	comeAndGo(t, gateway.Addr().String(), warmUpAmount)
	eventually(t, "all relays end", func() bool { return g.Live() == 0 })
	descriptors, heap := openDescriptors(t), liveHeap()
	comeAndGo(t, gateway.Addr().String(), shortConnections)
	eventually(t, "all relays end", func() bool { return g.Live() == 0 })
	eventually(t, "no more descriptors are open than before", func() bool { return openDescriptors(t) <= descriptors })
	if grown := liveHeap() - heap; grown > heapGrowthMax {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	t.Logf("figure: %d connections: descriptors %d, heap %d KiB", shortConnections, openDescriptors(t), liveHeap()>>10)
}

// comeAndGo makes so many connections, each of which sends a message, gets it back and ends.
func comeAndGo(t *testing.T, address string, amount int64) {
	var left atomic.Int64
	left.Store(amount)
	var clients sync.WaitGroup
	for range shortClients {
		clients.Go(func() {
			message := make([]byte, 64)
			for left.Add(-1) >= 0 {
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				c.Write(message)
				c.(*net.TCPConn).CloseWrite()
				if got, err := io.ReadAll(c); err != nil || len(got) != len(message) {
					t.Errorf("got %d bytes, error %v", len(got), err)
				}
				c.Close()
			}
		})
	}
	clients.Wait()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func serve(l net.Listener, handle func(net.Conn)) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// liveHeap is what is reachable, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what pools keep for one more cycle
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
