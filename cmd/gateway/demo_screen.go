package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"gateway/demo/peers"
)

// screenColumns is the width that the demo's lines keep to.
const screenColumns = 100

// Colours, as ANSI escape sequences.
const (
	plain  = ""
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	reset  = "\x1b[0m"
)

// screen writes the demo's output, a line at a time.
type screen struct {
	mu      sync.Mutex
	w       io.Writer
	colour  bool
	started time.Time // when the opening was shown; lines tell the time since then
}

// newScreen uses colour on a terminal, unless NO_COLOR is set (no-color.org).
func newScreen(w io.Writer) *screen {
	f, ok := w.(*os.File)
	return &screen{w: w, colour: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (s *screen) opening(port string, duration time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = time.Now()
	end := "Ctrl-C ends it."
	if duration > 0 {
		end = fmt.Sprintf("It ends after %v and when no browser shows the page any more, or with Ctrl-C.", duration)
	}
	gateway := "gateway " + port
	gap := strings.Repeat(" ", len(gateway))
	fmt.Fprintf(s.w, `
%[1]s

  push-1    ZeroMQ PUSH ──┐     %[3]s  ┌──▶ pull      ZeroMQ PULL
  push-2    ZeroMQ PUSH ──┤     %[3]s  │
  call-1    gRPC calls  ──┤     %[3]s  │
                          ├──▶ %[2]s ──┼──▶ greeter   gRPC server
  call-2    gRPC stream ──┤     %[3]s  │
  ask-1..4  CURVE       ──┘     %[3]s  └──◀ safe-1..3 ZeroMQ, connects in

The same port serves browsers: open %[5]s
%[4]s

`, s.in(bold, "One port for ZeroMQ, gRPC and browsers."), s.in(yellow, gateway), gap, end, s.in(yellow, "http://"+port+"/"))
}

// event shows what a peer tells.
func (s *screen) event(e peers.Event) {
	number := ""
	if e.Seq > 0 {
		number = "#" + strconv.Itoa(e.Seq)
	}
	text := e.Text
	if e.From != "" {
		text = "from " + e.From + ": " + text
	}
	s.line(e.Peer, e.Kind.String(), number, text, peerColour(e))
}

func peerColour(e peers.Event) string {
	switch {
	case e.Kind == peers.Lost:
		return red
	case strings.HasPrefix(e.Peer, "ask") || strings.HasPrefix(e.Peer, "safe"):
		return bold
	case e.Peer == demoPull || strings.HasPrefix(e.Peer, "push"):
		return cyan
	}
	return green
}

// line shows one event: when, who, what, which number, text.
func (s *screen) line(who, what, number, text, colour string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const before = 36 // columns before the text
	when := fmt.Sprintf("%7.3fs", time.Since(s.started).Seconds())
	runes := []rune(peers.Printable(text))
	if room := screenColumns - before; len(runes) > room {
		runes = append(runes[:room-1], '…')
	}
	fmt.Fprintf(s.w, "%s  %s %s %-5s %s\n", s.in(dim, when), s.in(colour, fmt.Sprintf("%-8s", who)), fmt.Sprintf("%-9s", what), number, string(runes))
}

// table shows the summary.
func (s *screen) table(rows []clientCount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "\n  %s\n", s.in(bold, fmt.Sprintf("%-8s %-20s %8s %8s %9s", "client", "is", "sent", "arrived", "answered")))
	for _, c := range rows {
		answered, colour := "-", green
		if c.calls {
			answered = strconv.Itoa(c.answered)
		}
		if !c.complete() {
			colour = red
		}
		fmt.Fprintf(s.w, "  %-8s %-20s %8d %s\n", c.name, c.is, c.sent, s.in(colour, fmt.Sprintf("%8d %9s", c.arrived, answered)))
	}
}

func (s *screen) verdict(text string, complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	colour := red
	if complete {
		colour = green
	}
	fmt.Fprintf(s.w, "\n%s\n", s.in(colour, text))
}

func (s *screen) in(colour, text string) string {
	if !s.colour || colour == plain {
		return text
	}
	return colour + text + reset
}

// demoLog shows the gateway's log as lines of the demo: what it detected, how connections ended, and what went wrong.
type demoLog struct{ screen *screen }

// Enabled includes Debug, where the gateway tells what it detected.
func (h *demoLog) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs and WithGroup change nothing: no line of the demo shows what they would add.
func (h *demoLog) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *demoLog) WithGroup(string) slog.Handler      { return h }

// Handle shows a record if it is for the demo's reader.
func (h *demoLog) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.String()
		return true
	})
	const who = "gateway"
	switch {
	case r.Message == "detected":
		h.screen.line(who, "detected", "", fmt.Sprintf("%s from %s → %s", attrs["protocol"], attrs["client"], attrs["block"]), yellow)
	case r.Message == "connection" && attrs["error"] == "":
		h.screen.line(who, "ended", "", fmt.Sprintf("%s from %s, %s bytes in, %s out: %s",
			attrs["protocol"], attrs["client"], attrs["in"], attrs["out"], attrs["result"]), yellow)
	case r.Level >= slog.LevelWarn:
		h.screen.line(who, strings.ToLower(r.Level.String()), "", r.Message+": "+attrs["error"], red)
	}
	return nil
}
