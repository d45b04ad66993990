package config

import (
	"fmt"
	"io"
	"log/slog"
)

const secretShown = "(secret)"

// Secret is text that no print, log or JSON shows. Its value is string(s).
type Secret string

// String hides the value.
func (s Secret) String() string { return secretShown }

// Format hides the value from every verb of fmt, %#v and %d included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secretShown) }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(secretShown) }

// MarshalText hides the value from JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(secretShown), nil }
