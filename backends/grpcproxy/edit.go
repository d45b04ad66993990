package grpcproxy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"gateway/internal/grpcwire"
)

// edits is how a route changes the fields of a request, made ready.
type edits struct {
	set    []hpack.HeaderField
	remove []string // the names of set too
}

func (e *edits) init(r Route) error {
	for _, name := range slices.Sorted(maps.Keys(r.SetMetadata)) {
		f := hpack.HeaderField{Name: name, Value: r.SetMetadata[name]}
		if err := checkMetadata(f); err != nil {
			return err
		}
		e.set = append(e.set, f)
		e.remove = append(e.remove, name)
	}
	for _, name := range r.RemoveMetadata {
		if err := checkMetadata(hpack.HeaderField{Name: name}); err != nil {
			return err
		}
		e.remove = append(e.remove, name)
	}
	return nil
}

// checkMetadata accepts what is a user's to set: gRPC over HTTP2, "Custom-Metadata".
func checkMetadata(f hpack.HeaderField) error {
	if err := checkField(&f); err != nil {
		return fmt.Errorf("metadata %q: %w", f.Name, err)
	}
	if f.Name[0] == ':' || strings.HasPrefix(f.Name, "grpc-") || f.Name == "content-type" || f.Name == "te" {
		return fmt.Errorf("metadata %q: the protocol's own fields are not changed", f.Name)
	}
	return nil
}

// edit returns the fields as they go to the backend: with the route's metadata, with its timeout where that is sooner
// than the caller's, and with the backend's authority and scheme.
func (r *route) edit(fields []hpack.HeaderField, q request, be *backend) []hpack.HeaderField {
	if len(r.edits.remove) > 0 {
		fields = slices.DeleteFunc(fields, func(f hpack.HeaderField) bool { return slices.Contains(r.edits.remove, f.Name) })
		fields = append(fields, r.edits.set...)
	}
	if be.Authority != "" {
		fields = replaceField(fields, ":authority", be.Authority)
	}
	if be.TLS != nil {
		fields = replaceField(fields, ":scheme", "https")
	}
	if theirs, ok := grpcwire.ParseTimeout(q.timeout); r.Timeout == 0 || ok && theirs <= r.Timeout {
		return fields
	}
	return replaceField(fields, "grpc-timeout", r.deadlines.header)
}

// replaceField gives a field a value; a pseudo-header field that is not there comes first, any other last.
func replaceField(fields []hpack.HeaderField, name, value string) []hpack.HeaderField {
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Value = value
			return fields
		}
	}
	f := hpack.HeaderField{Name: name, Value: value}
	if name[0] == ':' {
		return slices.Insert(fields, 0, f)
	}
	return append(fields, f)
}

// previousAttempts is the field by which gRFC A6 tells a server that a call was tried before.
const previousAttempts = "grpc-previous-rpc-attempts"

// countAttempts adds n to the attempts that the caller itself may have made.
func countAttempts(fields []hpack.HeaderField, n int) []hpack.HeaderField {
	if n == 0 {
		return fields
	}
	for i := range fields {
		if theirs, err := strconv.ParseUint(fields[i].Value, 10, 16); fields[i].Name == previousAttempts && err == nil {
			n += int(theirs)
		}
	}
	return replaceField(fields, previousAttempts, strconv.Itoa(n))
}

// valueOf returns the first value of a field, and whether it is there.
func valueOf(fields []hpack.HeaderField, name string) (string, bool) {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value, true
		}
	}
	return "", false
}
