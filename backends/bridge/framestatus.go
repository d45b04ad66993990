package bridge

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"gateway/internal/grpcwire"
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
		number, _ := strconv.Atoi(httpCode) // it is shown as it came
		return status.Errorf(grpcwire.CodeOfHTTP(number), "the call was answered with HTTP status %s, and no status of gRPC", httpCode)
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
		fields = append(fields, hpack.HeaderField{Name: "grpc-message", Value: grpcwire.EncodeMessage(s.Message())})
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
