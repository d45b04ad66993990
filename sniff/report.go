package sniff

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

const (
	reportEvery    = time.Second // at most one line of each kind
	reportBytesMax = 16          // of what the peer sent
)

// reporter writes log lines that strangers can cause, at most one a second of each kind: whoever scans the port cannot
// fill the disk. What the peer sent is written in hex: it cannot forge a line.
type reporter struct {
	log       *slog.Logger
	accepts   limiter
	strangers limiter
	refusals  limiter
}

func newReporter(log *slog.Logger) *reporter {
	r := &reporter{log: log}
	r.accepts.rate = rate.NewLimiter(rate.Every(reportEvery), 1)
	r.strangers.rate = rate.NewLimiter(rate.Every(reportEvery), 1)
	r.refusals.rate = rate.NewLimiter(rate.Every(reportEvery), 1)
	return r
}

// limiter lets one line pass a second and counts the others.
type limiter struct {
	rate       *rate.Limiter
	suppressed atomic.Int64
}

// allow reports whether a line may be written, and how many were not since the last one.
func (l *limiter) allow() (suppressed int64, ok bool) {
	if !l.rate.Allow() {
		l.suppressed.Add(1)
		return 0, false
	}
	return l.suppressed.Swap(0), true
}

func (r *reporter) acceptFailed(err error, delay time.Duration) {
	suppressed, ok := r.accepts.allow()
	if !ok {
		return
	}
	log := r.log
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		log = log.With("hint", "raise the limit of open files (ulimit -n) or lower max_connections")
	}
	log.Error("cannot accept; trying again", "error", err, "delay", delay, "suppressed", suppressed)
}

func (r *reporter) unmatched(c *Conn, result Result) {
	level := slog.LevelWarn
	if result == Closed && c.read == 0 {
		level = slog.LevelDebug // a health check that only connects
	}
	if !r.log.Enabled(context.Background(), level) {
		return
	}
	if suppressed, ok := r.strangers.allow(); ok {
		sent := c.Prefix()
		r.log.Log(context.Background(), level, "no protocol recognised; closing",
			"result", result.String(), "client", clientOf(c),
			"bytes", hex.EncodeToString(sent[:min(len(sent), reportBytesMax)]), "suppressed", suppressed)
	}
}

func (r *reporter) refused(c *Conn, reason string, why error) {
	if suppressed, ok := r.refusals.allow(); ok {
		r.log.Warn("refused", "reason", reason, "client", clientOf(c), "error", why, "suppressed", suppressed)
	}
}

// clientOf is the client's address; a client on a unix socket has none.
func clientOf(c *Conn) string {
	a := c.RemoteAddr()
	if name := a.String(); name != "" && name != "@" {
		return name
	}
	return a.Network()
}
