package grpcwire

import (
	"math"
	"strconv"
	"time"
)

// timeoutUnits are those of grpc-timeout, from the shortest.
var timeoutUnits = []struct {
	name byte
	is   time.Duration
}{{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour}}

const (
	timeoutDigitsMax = 8   // of a grpc-timeout
	timeoutMax       = 1e8 // the least number that has one more
)

// ParseTimeout reads a grpc-timeout ("Timeout"). One that is too long for a Duration is the longest Duration; ok is false
// for what is no timeout.
func ParseTimeout(s string) (d time.Duration, ok bool) {
	if len(s) < 2 || len(s) > timeoutDigitsMax+1 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil {
		return 0, false
	}
	for _, unit := range timeoutUnits {
		if unit.name != s[len(s)-1] {
			continue
		}
		if n > uint64(math.MaxInt64/unit.is) {
			return math.MaxInt64, true
		}
		return time.Duration(n) * unit.is, true
	}
	return 0, false
}

// FormatTimeout writes a grpc-timeout, rounded up to what eight digits can say: at least 1 ns, which is as good as none.
func FormatTimeout(d time.Duration) string {
	d = max(d, 1)
	for _, unit := range timeoutUnits {
		n := d / unit.is
		if d%unit.is > 0 {
			n++
		}
		if n < timeoutMax {
			return strconv.FormatInt(int64(n), 10) + string(unit.name)
		}
	}
	return "99999999H"
}
