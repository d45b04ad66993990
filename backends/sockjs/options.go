package sockjs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"gateway/internal/metrics"
	"gateway/internal/zmtp"
)

// Options of a Server. Send is required.
type Options struct {
	Block  string // the name in log and metrics; "" = Prefix
	Prefix string // the path below which everything lies: "/chat"; "" or "/": the root

	// Send gives a message to the programs and waits for room: the Send of a zmtp.Socket that plays PUSH. It keeps nothing
	// of the message when it returns.
	Send func(context.Context, *zmtp.Message) error
	// Peers is the number of programs that Send reaches now. nil: always one.
	Peers func() int
	// RefuseWithoutPeer answers new sessions with 503 while there is no program. false: they open, and what they say waits.
	RefuseWithoutPeer bool

	SessionsMax        int           // 0 = 10 000, with those whose disconnect no program has taken yet
	MessageBytesMax    int           // 0 = 64 KiB, of one message from a browser
	SendBufferBytesMax int           // 0 = 1 MiB, what waits for one browser; then its session is closed
	ResponseBytesMax   int           // 0 = 128 KiB, after which a streaming response ends and the browser asks again
	Heartbeat          time.Duration // 0 = 25 s of silence towards a browser
	DisconnectDelay    time.Duration // 0 = 5 s without a receiving request, until a session counts as ended
	WriteTimeout       time.Duration // 0 = 10 s that one write to a browser may take

	Origins       []string // who may: "https://app.example", "https://*.example", "*"; nil = everyone
	NoWebSocket   bool     // leave the WebSocket transports out
	Cookie        bool     // set JSESSIONID, for load balancers that stick to it
	ClientAddress bool     // tell programs the browser's address in connect
	ClientHeaders []string // headers of the browser's first request to tell programs in connect
	Static        fs.FS    // files served below the prefix, where the protocol has nothing; nil = none

	Log     *slog.Logger    // nil = nothing is logged
	Metrics *metrics.SockJS // nil = nothing is counted
}

// Defaults of Options.
const (
	DefaultSessionsMax        = 10_000
	DefaultMessageBytesMax    = 64 << 10
	DefaultSendBufferBytesMax = 1 << 20
	DefaultResponseBytesMax   = 128 << 10
	DefaultHeartbeat          = 25 * time.Second
	DefaultDisconnectDelay    = 5 * time.Second
	DefaultWriteTimeout       = 10 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	if o.Send == nil {
		return o, errors.New("sockjs: options: Send is missing")
	}
	o.Prefix = strings.TrimSuffix(o.Prefix, "/")
	if o.Prefix != "" && !strings.HasPrefix(o.Prefix, "/") {
		return o, fmt.Errorf("sockjs: options: the prefix %q does not start with a slash", o.Prefix)
	}
	for _, origin := range o.Origins {
		if problem := OriginProblem(origin); problem != "" {
			return o, fmt.Errorf("sockjs: options: the origin %q %s", origin, problem)
		}
	}
	o.Block = cmp.Or(o.Block, o.Prefix, "/")
	if o.Peers == nil {
		o.Peers = func() int { return 1 }
	}
	o.SessionsMax = cmp.Or(o.SessionsMax, DefaultSessionsMax)
	o.MessageBytesMax = cmp.Or(o.MessageBytesMax, DefaultMessageBytesMax)
	o.SendBufferBytesMax = cmp.Or(o.SendBufferBytesMax, DefaultSendBufferBytesMax)
	o.ResponseBytesMax = cmp.Or(o.ResponseBytesMax, DefaultResponseBytesMax)
	o.Heartbeat = cmp.Or(o.Heartbeat, DefaultHeartbeat)
	o.DisconnectDelay = cmp.Or(o.DisconnectDelay, DefaultDisconnectDelay)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, DefaultWriteTimeout)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

const (
	payloadBytesMin = 1 << 20          // browsers send what has piled up in one payload
	escapeFactor    = 6                // JSON may write one byte as \u0000
	bodyWait        = 20 * time.Second // for the body of a request
)

// payloadBytesMax bounds what a browser sends at once: several messages, as JSON.
func (o *Options) payloadBytesMax() int {
	return max(escapeFactor*o.MessageBytesMax, payloadBytesMin)
}
