//go:build libzmq

package zmtp

import (
	"testing"

	zmq "github.com/pebbe/zmq4"
)

func BenchmarkLibzmqNull(b *testing.B) { benchmarkLibzmq(b, Null{}, Null{}) }

func BenchmarkLibzmqCurve(b *testing.B) {
	key := newPair(b)
	benchmarkLibzmq(b, CurveClient{Server: key.Public}, CurveServer{Secret: key.Secret})
}

// benchmarkLibzmq is libzmq at both ends, called from Go; its threads do the work.
func benchmarkLibzmq(b *testing.B, client, server Security) {
	bySize(b, func(b *testing.B, size int) {
		pull, push := libzmqSocket(b, zmq.PULL, nil, server), libzmqSocket(b, zmq.PUSH, nil, client)
		if err := pull.Bind("tcp://127.0.0.1:*"); err != nil {
			b.Fatal(err)
		}
		endpoint, err := pull.GetLastEndpoint()
		if err != nil {
			b.Fatal(err)
		}
		if err := push.Connect(endpoint); err != nil {
			b.Fatal(err)
		}
		sent := make(chan error, 1)
		b.ResetTimer()
		go func() {
			body := make([]byte, size)
			for range b.N {
				if _, err := push.SendBytes(body, 0); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for range b.N {
			if _, err := pull.RecvBytes(0); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := <-sent; err != nil {
			b.Fatal(err)
		}
	})
}
