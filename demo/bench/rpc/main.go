// Command rpc is the client and the service of the gRPC works and of the gRPC ends of those that the bridge does: messages of
// 100 bytes, by grpc-go, not decoded.
//
//	rpc serve THREADS ADDRESS
//	rpc load THREADS ADDRESS unary|bidi|stream CONNECTIONS STREAMS MILLISECONDS
//
// STREAMS calls run at the same time on each connection: unary makes the next call when it has the answer, bidi sends the
// next message when it has the echo, stream reads what the server sends.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	messageBytes = 100
	// streamMax is how long the server sends at most.
	streamMax = 10 * time.Minute
	callWait  = time.Minute
)

// raw is a codec for messages that are bytes.
type raw struct{}

func (raw) Name() string                       { return "raw" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = slices.Clone(data); return nil }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rpc:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: rpc serve THREADS ADDRESS | rpc load THREADS ADDRESS unary|bidi|stream CONNECTIONS STREAMS MILLISECONDS")

func run(args []string) error {
	if len(args) < 3 {
		return errUsage
	}
	threads, err := strconv.Atoi(args[1])
	if err != nil {
		return errUsage
	}
	runtime.GOMAXPROCS(threads)
	if args[0] == "serve" && len(args) == 3 {
		return serve(args[2])
	}
	if args[0] != "load" || len(args) != 7 || works[args[3]] == nil {
		return errUsage
	}
	var numbers [3]int
	for i := range numbers {
		if numbers[i], err = strconv.Atoi(args[4+i]); err != nil {
			return errUsage
		}
	}
	return load(args[2], works[args[3]], numbers[0], numbers[1], time.Duration(numbers[2])*time.Millisecond)
}

// serve answers every call: /bench/stream with messages without end, all others with what it gets.
func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(answer)).Serve(l)
}

func answer(_ any, stream grpc.ServerStream) error {
	var m []byte
	if method, _ := grpc.MethodFromServerStream(stream); method == "/bench/stream" {
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		for began := time.Now(); time.Since(began) < streamMax; {
			if err := stream.SendMsg(&m); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		err := stream.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.SendMsg(&m)
		}
		if err != nil {
			return err
		}
	}
}

// worker is one of the calls that run at the same time.
type worker struct {
	conn      *grpc.ClientConn
	number    uint32
	until     time.Time
	latencies []time.Duration
	failed    int
}

// works are what a worker does until its time is over. Each operation adds a latency.
var works = map[string]func(*worker) error{
	"unary":  (*worker).unary,
	"bidi":   (*worker).bidi,
	"stream": (*worker).stream,
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})), grpc.WithDisableRetry())
}

// question is the n-th message of a worker, and nobody else's.
func (w *worker) question(n int) []byte {
	q := make([]byte, messageBytes)
	binary.BigEndian.PutUint32(q, w.number)
	binary.BigEndian.PutUint32(q[4:], uint32(n))
	return q
}

func (w *worker) unary() error {
	var got []byte
	for began := time.Now(); began.Before(w.until); {
		sent := w.question(len(w.latencies))
		ctx, cancel := context.WithTimeout(context.Background(), callWait)
		err := w.conn.Invoke(ctx, "/bench/unary", &sent, &got)
		cancel()
		if err != nil {
			return fmt.Errorf("a call: %w", err)
		}
		if !bytes.Equal(sent, got) {
			return fmt.Errorf("%x was answered %x", sent, got)
		}
		began = w.took(began)
	}
	return nil
}

func (w *worker) bidi() error {
	return w.exchange("/bench/bidi", true)
}

func (w *worker) stream() error {
	return w.exchange("/bench/stream", false)
}

// exchange reads a message after each that it sends, or after the first.
func (w *worker) exchange(method string, each bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Until(w.until)+callWait)
	defer cancel()
	stream, err := w.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	sent, got := make([]byte, messageBytes), []byte(nil)
	first := true
	for began := time.Now(); began.Before(w.until); {
		if each || first {
			if err := stream.SendMsg(&sent); err != nil {
				return err
			}
		}
		first = false
		if err := stream.RecvMsg(&got); err != nil || len(got) != messageBytes {
			return fmt.Errorf("a message: %w", err)
		}
		began = w.took(began)
	}
	return nil
}

func (w *worker) took(began time.Time) time.Time {
	now := time.Now()
	w.latencies = append(w.latencies, now.Sub(began))
	return now
}

// load leads the harness through the phases ready and done, and then tells the figures.
func load(address string, work func(*worker) error, conns, streams int, amount time.Duration) error {
	var workers []*worker
	for range conns {
		conn, err := dial(address)
		if err != nil {
			return err
		}
		warm := &worker{conn: conn, until: time.Now().Add(time.Millisecond)}
		if err := warm.unary(); err != nil {
			return err
		}
		for range streams {
			workers = append(workers, &worker{conn: conn, number: uint32(len(workers))})
		}
	}
	commands := bufio.NewReader(os.Stdin)
	phase := func(name string) error {
		fmt.Println(name)
		_, err := commands.ReadString('\n')
		return err
	}
	if err := phase("ready"); err != nil {
		return err
	}
	began := time.Now()
	var running sync.WaitGroup
	for _, w := range workers {
		w.until = began.Add(amount)
		running.Go(func() {
			if err := work(w); err != nil {
				w.failed++
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	running.Wait()
	took := time.Since(began)
	if err := phase("done"); err != nil {
		return err
	}
	return report(workers, took)
}

func report(workers []*worker, took time.Duration) error {
	var all []time.Duration
	failed := 0
	for _, w := range workers {
		all = append(all, w.latencies...)
		failed += w.failed
	}
	slices.Sort(all)
	at := func(share int) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[len(all)*share/100].Nanoseconds()) / 1e3
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"seconds": took.Seconds(), "operations": float64(len(all)), "bytes": float64(len(all) * messageBytes),
		"failed": float64(failed), "lost": 0, "p50_us": at(50), "p99_us": at(99),
	})
}
