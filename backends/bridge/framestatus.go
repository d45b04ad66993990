package bridge

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// This file is pure: what "gRPC over HTTP2" writes into header fields.

// callTrailers is how a call ended.
type callTrailers struct{ code, message, details string }

func (t *callTrailers) read(fields []hpack.HeaderField) {
	for _, f := range fields {
		switch f.Name {
		case "grpc-status":
			t.code = f.Value
		case "grpc-message":
			t.message = f.Value
		case "grpc-status-details-bin":
			t.details = f.Value
		}
	}
}

// status is nil for a call that ended well.
func (t *callTrailers) status(httpCode string) error {
	if t.code == "" {
		return status.Errorf(codeOfHTTP(httpCode), "the call was answered with HTTP status %s, and no status of gRPC", httpCode)
	}
	code, err := strconv.ParseUint(t.code, 10, 32)
	switch {
	case err != nil:
		return status.Errorf(codes.Internal, "the status of the call is %q", t.code)
	case code == 0:
		return nil
	}
	if t.details != "" {
		var rich spb.Status
		if data, err := decodeBinary(t.details); err == nil && proto.Unmarshal(data, &rich) == nil && rich.Code == int32(code) {
			return status.ErrorProto(&rich)
		}
	}
	message, err := url.PathUnescape(t.message)
	if err != nil {
		message = t.message
	}
	return status.Error(codes.Code(code), message)
}

// outcome is how the call ended, seen from the client: nil if it ended well. conn.mu is held.
func (s *frameStream) outcome() error {
	if s.failed != nil {
		return s.failed
	}
	return s.trailers.status(s.httpCode)
}

// appendStatusFields appends a call's end, and what a server adds to it.
func appendStatusFields(fields []hpack.HeaderField, s *status.Status, md metadata.MD) []hpack.HeaderField {
	fields = append(fields, hpack.HeaderField{Name: "grpc-status", Value: strconv.Itoa(int(s.Code()))})
	if s.Message() != "" {
		fields = append(fields, hpack.HeaderField{Name: "grpc-message", Value: percentEncode(s.Message())})
	}
	if p := s.Proto(); len(p.GetDetails()) > 0 {
		if data, err := proto.Marshal(p); err == nil {
			fields = append(fields, hpack.HeaderField{Name: "grpc-status-details-bin", Value: base64.RawStdEncoding.EncodeToString(data)})
		}
	}
	return appendMetadata(fields, md)
}

// appendMetadata appends metadata; binary values are written as base64.
func appendMetadata(fields []hpack.HeaderField, md metadata.MD) []hpack.HeaderField {
	for name, values := range md {
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			fields = append(fields, hpack.HeaderField{Name: name, Value: v})
		}
	}
	return fields
}

// decodeBinary reads base64, padded or not.
func decodeBinary(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

// percentEncode writes a grpc-message.
func percentEncode(s string) string {
	var out strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

// codeOfHTTP is the code of an answer that has none (grpc's http-grpc-status-mapping).
func codeOfHTTP(status string) codes.Code {
	switch status {
	case "400":
		return codes.Internal
	case "401":
		return codes.Unauthenticated
	case "403":
		return codes.PermissionDenied
	case "404":
		return codes.Unimplemented
	case "429", "502", "503", "504":
		return codes.Unavailable
	}
	return codes.Unknown
}

// codeOfReset is the code of a stream that was reset ("gRPC over HTTP2", "Errors").
func codeOfReset(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm, http2.ErrCodeFlowControl:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}

// timeoutUnits are those of grpc-timeout, from the shortest.
var timeoutUnits = []struct {
	name byte
	is   time.Duration
}{{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour}}

// timeoutMax is what eight digits say, and one.
const timeoutMax = 1e8

// formatTimeout writes a grpc-timeout, rounded up.
func formatTimeout(d time.Duration) string {
	for _, unit := range timeoutUnits {
		if n := (max(d, 1) + unit.is - 1) / unit.is; n < timeoutMax {
			return strconv.FormatInt(int64(n), 10) + string(unit.name)
		}
	}
	return "99999999H"
}

// parseTimeout reads a grpc-timeout. One that is too long for a Duration is the longest Duration.
func parseTimeout(s string) (d time.Duration, ok bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil {
		return 0, false
	}
	for _, unit := range timeoutUnits {
		if unit.name == s[len(s)-1] {
			if n > uint64(1<<63-1)/uint64(unit.is) {
				return 1<<63 - 1, true
			}
			return time.Duration(n) * unit.is, true
		}
	}
	return 0, false
}
