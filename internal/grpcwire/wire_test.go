package grpcwire

import (
	"math"
	"net/url"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

func TestTimeoutsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, d := range []time.Duration{1, time.Microsecond, 99_999_999, 100_000_000, time.Second, time.Hour, 1000 * time.Hour, math.MaxInt64} {
		if got, ok := ParseTimeout(FormatTimeout(d)); !ok || got < d || float64(got-d) > float64(d)/1e6 {
			t.Errorf("%v is written %q and read as %v", d, FormatTimeout(d), got)
		}
	}
	for _, d := range []time.Duration{0, -time.Second} {
		if got := FormatTimeout(d); got != "1n" {
			t.Errorf("%v is written %q", d, got)
		}
	}
	for _, s := range []string{"", "S", "1", "1x", "-1S", "+1S", "1.5S", "123456789S"} {
		if d, ok := ParseTimeout(s); ok {
			t.Errorf("%q is read as %v", s, d)
		}
	}
	if d, ok := ParseTimeout("99999999H"); !ok || d != math.MaxInt64 {
		t.Errorf("the longest is read as %v", d)
	}
}

func TestMessagesAreWrittenInPrintableASCII(t *testing.T) {
	for text, want := range map[string]string{
		"no such thing": "no such thing", "100 %": "100 %25", "a\r\nb": "a%0D%0Ab", "Grüße": "Gr%C3%BC%C3%9Fe", "~\x7f": "~%7F",
	} {
		got := EncodeMessage(text)
		if got != want {
			t.Errorf("%q is written %q, want %q", text, got, want)
		}
		if back, err := url.PathUnescape(got); back != text {
			t.Errorf("%q is read as %q, %v", got, back, err)
		}
	}
}

func TestCodesThatAServiceMakesUpAreOne(t *testing.T) {
	for code, want := range map[codes.Code]codes.Code{
		codes.OK: codes.OK, codes.Unauthenticated: codes.Unauthenticated, codes.Unauthenticated + 1: codes.Unknown, math.MaxUint32: codes.Unknown,
	} {
		if got := KnownCode(code); got != want {
			t.Errorf("%d is %v, want %v", uint32(code), got, want)
		}
	}
}

func TestEndsWithoutAStatusHaveTheCodesOfTheProtocol(t *testing.T) {
	for status, want := range map[int]codes.Code{
		400: codes.Internal, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.Unimplemented,
		429: codes.Unavailable, 502: codes.Unavailable, 503: codes.Unavailable, 504: codes.Unavailable, 200: codes.Unknown, 500: codes.Unknown,
	} {
		if got := CodeOfHTTP(status); got != want {
			t.Errorf("HTTP status %d: %v, want %v", status, got, want)
		}
	}
	for reset, want := range map[http2.ErrCode]codes.Code{
		http2.ErrCodeNo: codes.Internal, http2.ErrCodeProtocol: codes.Internal, http2.ErrCodeFlowControl: codes.Internal,
		http2.ErrCodeRefusedStream: codes.Unavailable, http2.ErrCodeCancel: codes.Canceled,
		http2.ErrCodeEnhanceYourCalm: codes.ResourceExhausted, http2.ErrCodeInadequateSecurity: codes.PermissionDenied,
	} {
		if got := CodeOfReset(reset); got != want {
			t.Errorf("reset with %v: %v, want %v", reset, got, want)
		}
	}
}
