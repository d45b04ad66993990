//go:build libzmq

package e2e

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

const (
	stoppedReaders   = 40
	buffersBytes     = 8 << 20
	buffersEachBytes = 16 << 20 // what each sender has: without a limit the gateway would hold half of it, for each
	// buffersMore is what the process may need beyond the limit: for the test's own sake a race detector, which keeps a
	// shadow of all memory, and memory that the garbage collector has not given back.
	buffersMore = 16 * buffersBytes
)

// TestManyStoppedReadersStayWithinTheBuffers has servers that send without end to clients that do not read.
func TestManyStoppedReadersStayWithinTheBuffers(t *testing.T) {
	flood := serveEach(t, "127.0.0.1", func(c net.Conn) {
		c.Write(make([]byte, buffersEachBytes))
		io.Copy(io.Discard, c)
	})
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
limits { buffers = "%dMiB" }
relay "flood" {
  match { protocol = "ssh" }
  dial = ["tcp://%s"]
}
relay "echo" { dial = ["tcp://%s"] }
admin { listen = "127.0.0.1:0" }
drain_timeout = "1s"
`, buffersBytes>>20, flood, echoServer(t)))
	must(t, goodClient(g.addr("public")))
	resident := func() int64 { return int64(g.metric("process_resident_memory_bytes ")) }
	before := resident()
	readers := make([]net.Conn, stoppedReaders)
	for i := range readers {
		readers[i] = knock(t, "127.0.0.1", g.addr("public"), sshHello)
		must(t, readers[i].(*net.TCPConn).SetReadBuffer(64<<10))
	}
	held := settled(t, resident)
	if held-before > buffersBytes+buffersMore {
		t.Errorf("%d readers that have stopped cost %d MiB, within limits { buffers = %d MiB }", stoppedReaders, (held-before)>>20, buffersBytes>>20)
	}
	must(t, goodClient(g.addr("public"))) // others are served meanwhile
	for i, c := range readers {           // and nothing is lost: they read on
		must(t, c.SetReadDeadline(time.Now().Add(patience)))
		if n, err := io.CopyN(io.Discard, c, buffersEachBytes); err != nil {
			t.Fatalf("reader %d got %d of %d bytes: %v", i, n, buffersEachBytes, err)
		}
	}
	t.Logf("figure: %d stopped readers cost %d MiB, within limits { buffers = %d MiB }; then each got its %d MiB",
		stoppedReaders, (held-before)>>20, buffersBytes>>20, buffersEachBytes>>20)
}

// settled is a value that has hardly grown for a while.
func settled(t *testing.T, value func() int64) int64 {
	t.Helper()
	const same, hardly = 20, 1 << 20 // looks, bytes
	last, times := value(), 0
	eventually(t, 3*patience, "it grows no more", func() bool {
		if now := value(); now > last+hardly {
			last, times = now, 0
		}
		times++
		return times > same
	})
	return last
}
