//go:build libzmq

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	zmq "github.com/pebbe/zmq4"
)

const (
	secretMessages   = 200
	secretMessageMin = 2000 // bytes: the marker many times
	memoryChunk      = 1 << 20
	memoryOverlap    = 1 << 10
)

// wire passes connections on to an address, and keeps what passes.
type wire struct {
	mu   sync.Mutex
	seen bytes.Buffer
}

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.Write(b)
}

func (w *wire) contains(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Contains(w.seen.Bytes(), []byte(text))
}

// tap listens in front of an address.
func (w *wire) tap(t *testing.T, addr string) (endpoint string) {
	t.Helper()
	return "tcp://" + serveEach(t, "127.0.0.1", func(near net.Conn) {
		far, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		var ways sync.WaitGroup
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			ways.Go(func() {
				defer way[1].Close()
				io.Copy(way[1], io.TeeReader(way[0], w))
			})
		}
		ways.Wait()
	})
}

// inMemory searches all memory of a process that it can write to, and gives those of the texts that are there.
func inMemory(t *testing.T, pid int, texts ...string) map[string]bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	must(t, err)
	defer memory.Close()
	found, searched := map[string]bool{}, 0
	buf := make([]byte, memoryChunk+memoryOverlap) // a text at the border of two pieces is in one of them
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if !strings.HasPrefix(mode, "rw") {
			continue
		}
		for at := from; at < to; at += memoryChunk {
			n, err := memory.ReadAt(buf[:min(uint64(len(buf)), to-at)], int64(at))
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EIO) { // EIO: reserved, not there
				t.Fatalf("read memory at %x: %v", at, err)
			}
			searched += n
			for _, text := range texts {
				if bytes.Contains(buf[:n], []byte(text)) {
					found[text] = true
				}
			}
		}
	}
	if searched < memoryChunk {
		t.Fatalf("only %d bytes of memory could be searched", searched)
	}
	return found
}

// TestGatewayKnowsNoPlainTextAndNoKey searches the gateway's memory and the wires on both its sides, while messages pass. The
// same search finds the text of NULL traffic, which shows that it would find it.
func TestGatewayKnowsNoPlainTextAndNoKey(t *testing.T) {
	keys := newCurveKeys(t)
	for _, m := range securities(keys) {
		if m.name == "PLAIN" {
			continue // its messages are as plain as NULL's
		}
		for _, gate := range []string{"", fmt.Sprintf("match { mechanism = [%q] }", m.name)} {
			t.Run(fmt.Sprintf("%s/gated=%v", m.name, gate != ""), func(t *testing.T) {
				g := pairGateway(t, "", gate)
				var outside, inside wire
				marker := fmt.Sprintf("the-%s-treasure-of-%d", strings.ToLower(m.name), os.Getpid())
				worker, client := zmqSocket(t, zmq.DEALER), zmqSocket(t, zmq.DEALER)
				m.worker(t, worker)
				m.client(t, client)
				must(t, worker.Connect(inside.tap(t, g.addr("vault/workers"))), client.Connect(outside.tap(t, g.addr("public"))))
				body := strings.Repeat(marker+" ", secretMessageMin/len(marker))
				for range secretMessages {
					send(t, client, body)
					want(t, recv(t, worker), body)
					send(t, worker, body)
					want(t, recv(t, client), body)
				}
				pid := g.cmd.Process.Pid
				secrets := []string{keys.serverSecret, keys.clientSecret, zmq.Z85decode(keys.serverSecret), zmq.Z85decode(keys.clientSecret)}
				found := inMemory(t, pid, append(secrets, marker)...)
				for where, is := range map[string]bool{
					"in memory": found[marker], "on the client's wire": outside.contains(marker), "on the worker's wire": inside.contains(marker),
				} {
					if is != (m.name == "NULL") {
						t.Errorf("the text was found %s: %v", where, is)
					}
				}
				for i, secret := range secrets {
					if found[secret] || outside.contains(secret) || inside.contains(secret) {
						t.Errorf("the secret key %d was found", i)
					}
				}
			})
		}
	}
}
