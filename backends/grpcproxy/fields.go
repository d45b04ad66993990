package grpcproxy

// Header fields: what makes a message malformed (RFC 9113 sections 8.1.1, 8.2 and 8.3), and what the gateway needs to
// know of a request or a response. Pure. Fields are otherwise forwarded as they came, in their order.

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"gateway/internal/grpcwire"
)

// request is what routing needs of a request's fields.
type request struct {
	method, path, contentType string
	authority                 string
	timeout                   string // grpc-timeout
	contentLength             int64  // -1: not given
}

// isGRPC reports whether the content type is gRPC's, with or without a subtype.
func (r request) isGRPC() bool {
	rest, found := strings.CutPrefix(r.contentType, "application/grpc")
	return found && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

var (
	errFieldName    = errors.New("a field name that is no lower-case token")
	errFieldValue   = errors.New("a control character in a field value")
	errPseudo       = errors.New("a pseudo-header field that is unknown, repeated or out of place")
	errConnection   = errors.New("a connection-specific field")
	errMissing      = errors.New("a mandatory pseudo-header field is missing or empty")
	errLength       = errors.New("a content-length that is no number, or repeated with another value")
	errStatusNumber = errors.New("a :status that is no status code")
)

// parseRequest reads the fields of a request; an error means that it is malformed.
func parseRequest(fields []hpack.HeaderField) (request, error) {
	r := request{contentLength: -1}
	var scheme string
	var seen, regular bool
	for i := range fields {
		f := &fields[i]
		if err := checkField(f); err != nil {
			return r, err
		}
		if f.Name[0] != ':' {
			regular = true
			if err := r.regular(f); err != nil {
				return r, err
			}
			continue
		}
		var to *string
		switch f.Name {
		case ":method":
			to = &r.method
		case ":path":
			to = &r.path
		case ":scheme":
			to = &scheme
		case ":authority":
			if seen || regular {
				return r, errPseudo
			}
			seen, r.authority = true, f.Value
			continue
		default:
			return r, errPseudo
		}
		if regular || *to != "" {
			return r, errPseudo
		}
		if f.Value == "" {
			return r, errMissing
		}
		*to = f.Value
	}
	if r.method == "" || r.path == "" || scheme == "" {
		return r, errMissing
	}
	return r, nil
}

// regular notes a field that is no pseudo-header field.
func (r *request) regular(f *hpack.HeaderField) error {
	switch f.Name {
	case "content-type":
		r.contentType = f.Value
	case "grpc-timeout":
		r.timeout = f.Value
	case "content-length":
		return parseLength(f.Value, &r.contentLength)
	}
	return nil
}

// response is what the gateway needs of a response's fields.
type response struct {
	status        int
	grpcStatus    string
	contentLength int64 // -1: not given
}

// code is that of a response that ends with its headers, or is no gRPC.
func (r response) code() codes.Code {
	if r.status != 200 && r.grpcStatus == "" {
		return grpcwire.CodeOfHTTP(r.status)
	}
	return parseCode(r.grpcStatus)
}

// parseResponse reads the fields of a response; an error means that it is malformed.
func parseResponse(fields []hpack.HeaderField) (response, error) {
	r := response{contentLength: -1}
	regular := false
	for i := range fields {
		f := &fields[i]
		if err := checkField(f); err != nil {
			return r, err
		}
		if f.Name[0] == ':' {
			if f.Name != ":status" || r.status != 0 || regular {
				return r, errPseudo
			}
			n, err := strconv.ParseUint(f.Value, 10, 16)
			if err != nil || len(f.Value) != 3 || n < 100 {
				return r, errStatusNumber
			}
			r.status = int(n)
			continue
		}
		regular = true
		switch f.Name {
		case "grpc-status":
			r.grpcStatus = f.Value
		case "content-length":
			if err := parseLength(f.Value, &r.contentLength); err != nil {
				return r, err
			}
		}
	}
	if r.status == 0 {
		return r, errMissing
	}
	return r, nil
}

// checkTrailers returns the grpc-status of trailers; an error means that they are malformed.
func checkTrailers(fields []hpack.HeaderField) (grpcStatus string, err error) {
	for i := range fields {
		f := &fields[i]
		if err := checkField(f); err != nil {
			return "", err
		}
		if f.Name[0] == ':' {
			return "", errPseudo
		}
		if f.Name == "grpc-status" {
			grpcStatus = f.Value
		}
	}
	return grpcStatus, nil
}

func parseLength(value string, to *int64) error {
	n, err := strconv.ParseUint(value, 10, 62)
	if err != nil || *to >= 0 && *to != int64(n) {
		return errLength
	}
	*to = int64(n)
	return nil
}

// checkField holds section 8.2: names are lower-case tokens, values have no line ends, and nothing is about the
// connection (section 8.2.2).
func checkField(f *hpack.HeaderField) error {
	name := f.Name
	if name == "" {
		return errFieldName
	}
	start := 0
	if name[0] == ':' {
		start = 1
	}
	for i := start; i < len(name); i++ {
		if !tokens[name[i]] {
			return errFieldName
		}
	}
	for i := 0; i < len(f.Value); i++ {
		if b := f.Value[i]; b < ' ' && (b == 0 || b == '\r' || b == '\n') {
			return errFieldValue
		}
	}
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return errConnection
	case "te":
		if f.Value != "trailers" {
			return errConnection
		}
	}
	return nil
}

// tokens are the characters of a field name: RFC 9110 section 5.6.2, without upper case.
var tokens = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()
