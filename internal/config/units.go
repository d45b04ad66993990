package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

var (
	numberAndUnit = regexp.MustCompile(`^(-?[0-9]+(?:\.[0-9]+)?)([a-z]*)$`)
	errNegative   = errors.New("a duration is not negative")
	errTooLong    = errors.New("that is longer than 290 years")
)

// timeUnits maps what people write for a unit, in lower case, to what time.ParseDuration takes; "" is seconds.
var timeUnits = map[string]string{
	"": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "s": "s",
	"ms": "ms", "msec": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms",
	"m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
}

// sizeUnits are the units of a size, in bytes.
var sizeUnits = map[string]int64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// sizeUnitsMeant maps what people write for a size's unit, in lower case, to the unit that the gateway takes.
var sizeUnitsMeant = map[string]string{
	"": "B", "b": "B", "byte": "B", "bytes": "B",
	"k": "KiB", "kb": "KiB", "kib": "KiB",
	"m": "MiB", "mb": "MiB", "mib": "MiB",
	"g": "GiB", "gb": "GiB", "gib": "GiB",
}

// duration reads a positive duration.
func (r *reader) duration(a *hcl.Attribute, otherwise time.Duration) time.Duration {
	d, ok := r.durationOrNone(a)
	if !ok {
		return otherwise
	}
	if d == 0 {
		r.errorAt(a.Expr.Range(), "Duration must be positive", "%s cannot be zero. Leave the line out for the default.", a.Name)
		return otherwise
	}
	return d
}

// durationOrNone reads a duration whose zero has a meaning of its own.
func (r *reader) durationOrNone(a *hcl.Attribute) (time.Duration, bool) {
	text, ok := r.textWithUnit(a, "s")
	if !ok {
		return 0, false
	}
	d, err := parseDuration(text)
	if err != nil {
		r.errorAt(a.Expr.Range(), "Not a duration", "%s: %s.%s", a.Name, err, meant(text, durationMeant(text)))
		return 0, false
	}
	return d, true
}

// size reads a number of bytes in [1, limit].
func (r *reader) size(a *hcl.Attribute, limit int64) int64 {
	text, ok := r.textWithUnit(a, "B")
	if !ok {
		return 0
	}
	n, err := parseSize(text)
	if err != nil {
		r.errorAt(a.Expr.Range(), "Not a size", "%s: %s.%s", a.Name, err, meant(text, sizeMeant(text)))
		return 0
	}
	if n < 1 || n > limit {
		r.errorAt(a.Expr.Range(), "Size out of range", "%s goes from 1B to %s.", a.Name, sizeText(limit))
		return 0
	}
	return n
}

// textWithUnit reads text, and answers a bare number with the text that it should be.
func (r *reader) textWithUnit(a *hcl.Attribute, unit string) (string, bool) {
	if a == nil {
		return "", false
	}
	if v, diags := a.Expr.Value(r.eval); !diags.HasErrors() && v.Type() == cty.Number && v.IsKnown() && !v.IsNull() {
		r.errorAt(a.Expr.Range(), "The unit is missing", "%s is a number with its unit, in quotes. Did you mean %q?", a.Name, v.AsBigFloat().Text('g', 12)+unit)
		return "", false
	}
	return r.text(a)
}

// meant words a suggestion, if there is one that differs from what was given.
func meant(given, text string) string {
	if text == "" || text == given {
		return ""
	}
	return fmt.Sprintf(" Did you mean %q?", text)
}

// parseDuration is time.ParseDuration without negative durations and with errors for people.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil && durationMeant(text) == text:
		return 0, errTooLong
	case err != nil:
		return 0, fmt.Errorf("%s is not a number with a unit, such as \"300ms\", \"5s\", \"2m\" or \"1h\"", quoted(text))
	case d < 0:
		return 0, errNegative
	}
	return d, nil
}

// durationMeant guesses which duration was meant, or returns "".
func durationMeant(text string) string {
	parts := numberAndUnit.FindStringSubmatch(strings.ToLower(strings.ReplaceAll(text, " ", "")))
	if parts == nil {
		return ""
	}
	number, unit := strings.TrimPrefix(parts[1], "-"), parts[2]
	if days, err := strconv.Atoi(number); err == nil && (unit == "d" || unit == "day" || unit == "days") {
		return fmt.Sprintf("%dh", 24*days)
	}
	if known, ok := timeUnits[unit]; ok {
		return number + known
	}
	return ""
}

// parseSize reads a whole number and one of sizeUnits.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "BKMGi")
	n, err := strconv.ParseInt(digits, 10, 64)
	scale, ok := sizeUnits[text[len(digits):]]
	if err != nil || !ok || n < 0 {
		return 0, fmt.Errorf("%s is not a whole number with a unit, such as \"512B\", \"64KiB\", \"16MiB\" or \"1GiB\"", quoted(text))
	}
	if n > math.MaxInt64/scale {
		return math.MaxInt64, nil
	}
	return n * scale, nil
}

// sizeMeant guesses which size was meant, or returns "".
func sizeMeant(text string) string {
	parts := numberAndUnit.FindStringSubmatch(strings.ToLower(strings.ReplaceAll(text, " ", "")))
	if parts == nil || strings.ContainsAny(parts[1], "-.") {
		return ""
	}
	if unit, ok := sizeUnitsMeant[parts[2]]; ok {
		return parts[1] + unit
	}
	return ""
}

// sizeText prints a size in the largest unit that leaves it whole.
func sizeText(n int64) string {
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		if scale := sizeUnits[unit]; n >= scale && n%scale == 0 {
			return fmt.Sprintf("%d%s", n/scale, unit)
		}
	}
	return fmt.Sprintf("%dB", n)
}
