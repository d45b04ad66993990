package zmtp

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/go-zeromq/zmq4"
)

// Frames a second, one connection over loopback, one side pushing and one pulling:
//
//	go test -tags libzmq -run '^$' -bench . -benchmem ./internal/zmtp
//
// With the tag, libzmq is measured beside, in the same run.

// benchSizes are the sizes of a message's single part.
var benchSizes = []int{32, 1 << 10, 64 << 10}

func bySize(b *testing.B, run func(b *testing.B, size int)) {
	for _, size := range benchSizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			run(b, size)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// stream sends b.N messages from c to srv.
func stream(b *testing.B, c, srv *Conn, size int) {
	ctx, sent := context.Background(), make(chan error, 1)
	b.ResetTimer()
	go func() {
		m := NewMessage(make([]byte, size))
		for range b.N {
			if err := c.Send(ctx, m); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	m := &Message{}
	for range b.N {
		if err := srv.Recv(m); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkNull(b *testing.B) {
	bySize(b, func(b *testing.B, size int) {
		c, srv := connect(b, Options{SocketType: PUSH}, Options{SocketType: PULL})
		stream(b, c, srv, size)
	})
}

func BenchmarkCurve(b *testing.B) {
	key := newPair(b)
	bySize(b, func(b *testing.B, size int) {
		c, srv := connect(b, Options{SocketType: PUSH, Security: CurveClient{Server: key.Public}},
			Options{SocketType: PULL, Security: CurveServer{Secret: key.Secret}})
		stream(b, c, srv, size)
	})
}

// BenchmarkExchange is one small message there and back again.
func BenchmarkExchange(b *testing.B) {
	key := newPair(b)
	for name, s := range map[string][2]Security{
		"NULL":  {Null{}, Null{}},
		"CURVE": {CurveClient{Server: key.Public}, CurveServer{Secret: key.Secret}},
	} {
		b.Run(name, func(b *testing.B) {
			c, srv := connect(b, Options{SocketType: DEALER, Security: s[0]}, Options{SocketType: DEALER, Security: s[1]})
			go func() {
				for m := (&Message{}); srv.Recv(m) == nil && srv.Send(context.Background(), m) == nil; {
				}
			}()
			b.ReportAllocs()
			m, reply := NewMessage(make([]byte, 32)), &Message{}
			for b.Loop() {
				if err := c.Send(context.Background(), m); err != nil {
					b.Fatal(err)
				}
				if err := c.Recv(reply); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHandshake is a whole connection: both ends of the handshake.
func BenchmarkHandshake(b *testing.B) {
	key := newPair(b)
	for name, s := range map[string][2]Security{
		"NULL":  {Null{}, Null{}},
		"CURVE": {CurveClient{Server: key.Public}, CurveServer{Secret: key.Secret}},
	} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					if c, err := Accept(context.Background(), nc, Options{SocketType: PULL, Security: s[1]}); err == nil {
						c.Close()
					}
				}
			}()
			for b.Loop() {
				c, err := Dial(context.Background(), "tcp", l.Addr().String(), Options{SocketType: PUSH, Security: s[0]})
				if err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}

// BenchmarkGoZeroMQNull is go-zeromq/zmq4, which knows no CURVE.
func BenchmarkGoZeroMQNull(b *testing.B) {
	bySize(b, func(b *testing.B, size int) {
		ctx := context.Background()
		push, pull := zmq4.NewPush(ctx), zmq4.NewPull(ctx)
		defer push.Close()
		defer pull.Close()
		if err := pull.Listen("tcp://127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
		if err := push.Dial("tcp://" + pull.Addr().String()); err != nil {
			b.Fatal(err)
		}
		sent := make(chan error, 1)
		b.ResetTimer()
		go func() {
			m := zmq4.NewMsg(make([]byte, size))
			for range b.N {
				if err := push.Send(m); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for range b.N {
			if _, err := pull.Recv(); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := <-sent; err != nil {
			b.Fatal(err)
		}
	})
}
