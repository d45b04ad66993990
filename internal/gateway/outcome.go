package gateway

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcome is how a connection ended. The zero value is a connection that ended well and moved nothing.
type Outcome struct {
	Block    string        // the configuration's block that took it
	Target   string        // where it was connected to
	BytesIn  int64         // bytes from the client
	BytesOut int64         // bytes to the client
	Ago      time.Duration // since it ended; 0: just now
	Result   string        // in a word or two, for the log and the metric: a bounded set of values
	Err      error         // what went wrong, if anything
}

// report writes the one log line of a connection and counts it.
func (s *Server) report(protocol string, client net.Addr, serverName string, took time.Duration, o Outcome) {
	if o.Result == "" {
		o.Result = "closed"
	}
	s.count(protocol, o)
	level := slog.LevelInfo
	if o.Err != nil {
		level = slog.LevelWarn
	}
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 11)
	attrs = append(attrs, slog.String("protocol", protocol))
	if o.Block != "" {
		attrs = append(attrs, slog.String("block", o.Block))
	}
	if o.Target != "" {
		attrs = append(attrs, slog.String("target", o.Target))
	}
	attrs = append(attrs, slog.String("client", addrString(client)))
	if serverName != "" {
		attrs = append(attrs, slog.String("sni", serverName))
	}
	attrs = append(attrs,
		slog.Int64("in", o.BytesIn), slog.Int64("out", o.BytesOut),
		slog.Duration("took", took.Round(time.Microsecond)),
		slog.String("result", o.Result))
	if o.Err != nil {
		attrs = append(attrs, slog.String("error", o.Err.Error()))
	}
	s.log.LogAttrs(context.Background(), level, "connection", attrs...)
}

// ends are the metrics of connections that end alike.
type ends struct {
	protocol, block, result string
	connections, in, out    prometheus.Counter
}

// count counts a connection that has ended. It looks metrics up only where one ended unlike the one before.
func (s *Server) count(protocol string, o Outcome) {
	m := s.options.Metrics
	if m == nil {
		return
	}
	e := s.lastEnds.Load()
	if e == nil || e.protocol != protocol || e.block != o.Block || e.result != o.Result {
		e = &ends{
			protocol: protocol, block: o.Block, result: o.Result,
			connections: m.Connections.WithLabelValues(protocol, o.Block, o.Result),
			in:          m.Bytes.WithLabelValues(protocol, o.Block, "in"),
			out:         m.Bytes.WithLabelValues(protocol, o.Block, "out"),
		}
		s.lastEnds.Store(e)
	}
	e.connections.Inc()
	e.in.Add(float64(o.BytesIn))
	e.out.Add(float64(o.BytesOut))
}

func addrString(a net.Addr) string {
	if a == nil {
		return "unknown"
	}
	if s := a.String(); s != "" && s != "@" {
		return s
	}
	return a.Network() // a unix client has no name of its own
}
