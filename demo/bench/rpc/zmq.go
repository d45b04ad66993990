package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"gateway/internal/zmtp"
)

// serveZMQ is a REP that answers every request with itself.
func serveZMQ(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	socket, err := zmtp.NewSocket(zmtp.SocketOptions{
		Options: zmtp.Options{SocketType: zmtp.REP},
		Receive: func(from *zmtp.Link, m *zmtp.Message) {
			if from.Send(context.Background(), m) != nil { // envelope and all
				from.Drop()
			}
		},
	})
	if err != nil {
		return err
	}
	return socket.Serve(l)
}

func dialZMQ(address string) (connection, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callWait)
	defer cancel()
	conn, err := zmtp.Dial(ctx, "tcp", address, zmtp.Options{SocketType: zmtp.REQ})
	return connection{zmq: conn}, err
}

func (w *worker) request() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Until(w.until)+callWait)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = w.zmq.Close() }) // ends a wait for a reply that does not come
	defer stop()
	var sent, got zmtp.Message
	for began := time.Now(); began.Before(w.until); {
		question := w.question(len(w.latencies))
		sent.Reset()
		sent.Append(nil)
		sent.Append(question)
		if err := w.zmq.Send(ctx, &sent); err != nil {
			return fmt.Errorf("a request: %w", err)
		}
		if err := w.zmq.Recv(&got); err != nil {
			return fmt.Errorf("a reply: %w", err)
		}
		if got.Len() != 2 || !bytes.Equal(got.Part(1), question) {
			return fmt.Errorf("%x was answered %x", question, got.Parts())
		}
		began = w.took(began)
	}
	return nil
}
