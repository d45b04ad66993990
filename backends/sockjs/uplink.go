package sockjs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// Types of messages, towards programs and from them.
const (
	typeConnect    = "connect"
	typeMessage    = "message"
	typeDisconnect = "disconnect"
	typeBroadcast  = "broadcast"
)

// sendersMax bounds the requests that wait for their turn in one session; browsers send one at a time.
const sendersMax = 4

var (
	errEnded       = errors.New("sockjs: the session has ended")
	errManySenders = errors.New("sockjs: too many requests send at once")
)

// send gives one message of the session to the programs. The caller holds the turn.
func (c *session) send(kind string, data []byte) error {
	c.message.Reset()
	c.message.Append([]byte(kind))
	c.message.Append([]byte(c.id))
	c.message.Append(data)
	return c.server.options.Send(c.server.lifetime, &c.message)
}

// welcome says connect and gives the turn away that the session was made with.
func (c *session) welcome() {
	if err := c.send(typeConnect, c.connect); err != nil {
		c.server.meters.drop(dropStopping)
	}
	c.connect = nil
	<-c.turn
}

// farewell says disconnect, after everything else.
func (c *session) farewell() {
	c.server.unreachable(c)
	c.turn <- struct{}{}
	if err := c.send(typeDisconnect, nil); err != nil {
		c.server.meters.drop(dropStopping)
	} else {
		c.parted = true
	}
	close(c.told) // the turn is never given away again
	c.release()
}

// forward gives messages of the browser to the programs, in order, and waits until they are taken. Once it has begun it
// sends all of them, even if the session ends meanwhile.
func (c *session) forward(ctx context.Context, messages ...[]byte) error {
	select {
	case c.turn <- struct{}{}:
	case <-c.told:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	if c.finished() {
		return errEnded
	}
	for i, message := range messages {
		if err := c.send(typeMessage, message); err != nil {
			for range messages[i:] {
				c.server.meters.drop(dropStopping)
			}
			return err
		}
		c.server.meters.in.Inc()
	}
	return nil
}

// forwardRequest is forward for one of several requests.
func (c *session) forwardRequest(ctx context.Context, messages [][]byte) error {
	if c.senders.Add(1) > sendersMax {
		c.senders.Add(-1)
		return errManySenders
	}
	defer c.senders.Add(-1)
	return c.forward(ctx, messages...)
}

// introduction is the data of connect: empty, or what the options say of the browser, as JSON.
func (s *Server) introduction(r *http.Request) ([]byte, error) {
	if !s.options.ClientAddress && len(s.options.ClientHeaders) == 0 {
		return nil, nil
	}
	var client struct {
		Address string            `json:"address,omitempty"`
		Headers map[string]string `json:"headers,omitempty"`
	}
	if s.options.ClientAddress {
		client.Address = r.RemoteAddr
	}
	for _, name := range s.options.ClientHeaders {
		if value := r.Header.Get(name); value != "" {
			if client.Headers == nil {
				client.Headers = map[string]string{}
			}
			client.Headers[http.CanonicalHeaderKey(name)] = value
		}
	}
	return json.Marshal(client)
}
