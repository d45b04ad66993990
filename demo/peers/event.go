package peers

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
)

const textRunesMax = 200 // shown of one text

// Kind says what happened to a peer.
type Kind int8

const (
	Listening Kind = iota // a server waits at the address in Text
	Connected             // a client reached the address in Text
	Sent                  // a client's message is on its way
	Received              // a server got a message
	Answered              // a client's call was answered
	Lost                  // a client lost its connection or its call, for the reason in Text, and tries again
)

var kindNames = [...]string{"listening", "connected", "sent", "received", "answered", "lost"}

func (k Kind) String() string { return kindNames[k] }

// Event is one thing that happened.
type Event struct {
	Peer string // the name of the peer that tells it
	Kind Kind
	From string // Received: who sent it, "" where the message does not say
	Seq  int    // Sent, Answered: the client's number, from 1; Received: the sender's number, 0 where the message does not say
	Text string
}

// Report is told of each event. Servers call it from several goroutines at once.
type Report func(Event)

// String is the event as one line: who, what, which number, text.
func (e Event) String() string {
	number := ""
	if e.Seq > 0 {
		number = fmt.Sprintf("#%d", e.Seq)
	}
	text := e.Text
	if e.From != "" {
		text = "from " + e.From + ": " + text
	}
	return fmt.Sprintf("%-8s %-9s %-5s %s", Printable(e.Peer), e.Kind, number, Printable(text))
}

// Printable shortens a text that came over the network to a line, and takes out what a terminal would obey.
func Printable(text string) string {
	var b strings.Builder
	runes := 0
	for _, r := range text {
		if runes++; runes > textRunesMax {
			b.WriteString("…")
			break
		}
		if !unicode.IsGraphic(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Print makes a Report that writes a line for each event.
func Print(w io.Writer) Report {
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, e)
	}
}
