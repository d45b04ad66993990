// Package grpcwire holds the words of gRPC over HTTP/2 that both the engine and the bridge write and read: the code of an end
// that names none, the text of a grpc-message, and grpc-timeout. It is pure. Its source is the gRPC project's
// doc/PROTOCOL-HTTP2.md, where nothing else is said.
package grpcwire

import (
	"fmt"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// CodesMax is the number of codes that gRPC has.
const CodesMax = int(codes.Unauthenticated) + 1

// KnownCode is code if gRPC has it, otherwise UNKNOWN: there is no end of those that a service can make up, and metrics keep each.
func KnownCode(code codes.Code) codes.Code {
	if int64(code) >= int64(CodesMax) {
		return codes.Unknown
	}
	return code
}

// CodeOfHTTP is the code of a response that has no grpc-status (doc/http-grpc-status-mapping.md).
func CodeOfHTTP(status int) codes.Code {
	switch status {
	case 400:
		return codes.Internal
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.Unimplemented
	case 429, 502, 503, 504:
		return codes.Unavailable
	}
	return codes.Unknown
}

// CodeOfReset is the code of a stream that was reset ("Errors").
func CodeOfReset(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}

// EncodeMessage writes a grpc-message: what is not printable ASCII, and the percent sign, as %XX ("Status-Message").
func EncodeMessage(s string) string {
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
