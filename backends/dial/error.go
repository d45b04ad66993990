package dial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
)

// Error tells that no target took the connection.
type Error struct {
	Block    string
	Attempts []Attempt // in the order in which they were made
}

// Attempt is one target, and why it did not take the connection.
type Attempt struct {
	Target  string // as configured
	Address string // what was dialled; empty when the name could not be looked up
	Err     error
}

var (
	// ErrNoAddress tells that a target's name stands for no address.
	ErrNoAddress = errors.New("the name has no address")

	// ErrBacklogFull tells that a unix socket's server accepted nobody for as long as a target may take.
	ErrBacklogFull = errors.New("its backlog is full, and it accepts nobody")

	// ErrNotTried tells that the time for dialling was over before it was this target's turn.
	ErrNotTried = errors.New("not tried, no time was left")
)

func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "dial: no target of %q took the connection", e.Block)
	for i, a := range e.Attempts {
		text.WriteString([]string{": ", "; "}[min(i, 1)])
		text.WriteString(a.Target)
		if a.Address != "" && !strings.HasSuffix(a.Target, a.Address) {
			fmt.Fprintf(&text, " (%s)", a.Address)
		}
		fmt.Fprintf(&text, ": %v", cause(a.Err))
	}
	return text.String()
}

// Unwrap gives the error of every attempt.
func (e *Error) Unwrap() []error {
	all := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		all[i] = a.Err
	}
	return all
}

// cause strips what the text of an Error says already: operation, network and address.
func cause(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}

// result classifies an attempt for the metric's label.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	}
	return "error"
}
