// Command conformance puts the gateway's gRPC engine before a server under test of connectrpc.com/conformance:
//
//	connectconformance --conf grpc.yaml --mode server -- conformance grpcserver
//
// The suite starts it as it would start the server, tells it on standard input what to serve, and reads on standard
// output where. This program starts the real server, a proxy that sends every call there, and tells the proxy's port.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"gateway/backends/grpcproxy"

	"google.golang.org/protobuf/encoding/protowire"
)

// drainWait is how long calls may take to end when the suite has no more.
const drainWait = 5 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("usage: conformance SERVER [ARGUMENT...]")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	server := exec.CommandContext(ctx, command[0], command[1:]...)
	server.Stdin, server.Stderr = os.Stdin, os.Stderr
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGTERM) }
	out, err := server.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", command[0], err)
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start %s: %w", command[0], err)
	}
	response, err := readMessage(out)
	if err != nil {
		return fmt.Errorf("read where the server listens: %w", err)
	}
	host, port, err := address(response)
	if err != nil {
		return err
	}
	proxy, err := grpcproxy.New(grpcproxy.Options{
		Routes:   []grpcproxy.Route{{Pattern: "*", To: []grpcproxy.Weighted{{Backend: "server"}}}},
		Backends: []grpcproxy.Backend{{Name: "server", Targets: []string{net.JoinHostPort(host, fmt.Sprint(port))}}},
		Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	own := protowire.AppendTag(nil, hostField, protowire.BytesType)
	own = protowire.AppendString(own, "127.0.0.1")
	own = protowire.AppendTag(own, portField, protowire.VarintType)
	own = protowire.AppendVarint(own, uint64(listener.Addr().(*net.TCPAddr).Port))
	if _, err := os.Stdout.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(own))), own...)); err != nil {
		return fmt.Errorf("tell where the gateway listens: %w", err)
	}
	context.AfterFunc(ctx, func() {
		drain, cancel := context.WithTimeout(context.Background(), drainWait)
		defer cancel()
		_ = proxy.Shutdown(drain) // calls that are cut have failed in the suite
	})
	err = proxy.Serve(listener)
	_ = server.Wait() // ended by the same signal
	return err
}

// messageBytesMax bounds what the server may say: an address, and a certificate.
const messageBytesMax = 1 << 20

// readMessage reads a message with its length before it, the suite's framing.
func readMessage(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > messageBytesMax {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	message := make([]byte, n)
	_, err := io.ReadFull(r, message)
	return message, err
}

// Fields of connectrpc.conformance.v1.ServerCompatResponse.
const (
	hostField protowire.Number = 1
	portField protowire.Number = 2
)

// address reads host and port from a ServerCompatResponse.
func address(message []byte) (host string, port uint64, err error) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return "", 0, fmt.Errorf("the server's message: %w", protowire.ParseError(n))
		}
		value := message[n:]
		size := protowire.ConsumeFieldValue(number, kind, value)
		if size < 0 {
			return "", 0, fmt.Errorf("the server's message: %w", protowire.ParseError(size))
		}
		switch number {
		case hostField:
			b, _ := protowire.ConsumeBytes(value)
			host = string(b)
		case portField:
			port, _ = protowire.ConsumeVarint(value)
		}
		message = value[size:]
	}
	return host, port, nil
}
