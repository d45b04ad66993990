package grpcproxy

// Two answers to one call: are they the same? Pure, but for the descriptors, which types gets.

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	// plainBytesMax bounds the messages of an answer that are decompressed, together.
	plainBytesMax = 8 << 20
	// sampleBytesMax bounds a value in a Sample.
	sampleBytesMax = 200
)

// reply is an answer as bytes.
type reply struct {
	code     codes.Code
	body     []byte
	encoding string // grpc-encoding
	long     bool   // body is not all
}

// compare compares and notes the first difference.
func (m *mirror) compare(ctx context.Context, c *mirrored, ours, theirs reply) verdict {
	method, _ := valueOf(c.fields, ":path")
	differ := func(field, answered, mirrored string) verdict {
		m.sample(Sample{Method: method, Field: field, Answered: shortened(answered), Mirrored: shortened(mirrored)})
		return mismatched
	}
	if theirs.long {
		return differ("bytes", fmt.Sprint(len(ours.body)), fmt.Sprintf("more than %d", mirrorBytesMax))
	}
	if ours.code != theirs.code {
		return differ("grpc-status", ours.code.String(), theirs.code.String())
	}
	a, errA := ours.messages()
	b, errB := theirs.messages()
	if errA != nil || errB != nil {
		return uncompared
	}
	if len(a) != len(b) {
		return differ("message count", strconv.Itoa(len(a)), strconv.Itoa(len(b)))
	}
	var kind protoreflect.MessageDescriptor
	if m.Compare == "proto" {
		kind = m.types.output(ctx, method, c.server, m.backend)
		if kind == nil {
			return uncompared
		}
	}
	for i := range a {
		if bytes.Equal(a[i], b[i]) {
			continue
		}
		if kind == nil {
			return differ("bytes", base64.StdEncoding.EncodeToString(a[i]), base64.StdEncoding.EncodeToString(b[i]))
		}
		x, y := dynamicpb.NewMessage(kind), dynamicpb.NewMessage(kind)
		if proto.Unmarshal(a[i], x) != nil || proto.Unmarshal(b[i], y) != nil {
			return differ("bytes", "message "+strconv.Itoa(i), "cannot be parsed")
		}
		for _, path := range m.Ignore {
			clearField(x, strings.Split(path, "."))
			clearField(y, strings.Split(path, "."))
		}
		if field, answered, mirrored, same := firstDifference(x, y, ""); !same {
			return differ(field, answered, mirrored)
		}
	}
	return matched
}

func shortened(s string) string {
	if len(s) > sampleBytesMax {
		return s[:sampleBytesMax] + "..."
	}
	return s
}

// messages cuts a body into messages, decompressed: to plainBytesMax in all, whatever was made small.
func (r reply) messages() (all [][]byte, err error) {
	room := plainBytesMax
	for rest := r.body; len(rest) > 0; {
		if len(rest) < messageHeaderBytes || uint64(binary.BigEndian.Uint32(rest[1:])) > uint64(len(rest)-messageHeaderBytes) {
			return nil, io.ErrUnexpectedEOF
		}
		end := messageHeaderBytes + int(binary.BigEndian.Uint32(rest[1:]))
		p := rest[messageHeaderBytes:end]
		if rest[0] == 1 {
			if p, err = decompress(r.encoding, p, room); err != nil {
				return nil, err
			}
			room -= len(p)
		}
		all = append(all, p)
		rest = rest[end:]
	}
	return all, nil
}

func decompress(encoding string, p []byte, bytesMax int) ([]byte, error) {
	var r io.Reader
	var err error
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(bytes.NewReader(p))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(p))
	default:
		err = fmt.Errorf("the encoding %q cannot be read", encoding)
	}
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(bytesMax)+1))
	if err == nil && len(plain) > bytesMax {
		err = fmt.Errorf("messages of more than %d bytes", plainBytesMax)
	}
	return plain, err
}

// clearField clears the field at the path, in each element of lists and maps on the way.
func clearField(m protoreflect.Message, path []string) {
	f := m.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	if f == nil || !m.Has(f) {
		return
	}
	if len(path) == 1 {
		m.Clear(f)
		return
	}
	switch v := m.Get(f); {
	case f.IsMap() && f.MapValue().Message() != nil:
		v.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
			clearField(value.Message(), path[1:])
			return true
		})
	case f.IsList() && f.Message() != nil:
		for i := range v.List().Len() {
			clearField(v.List().Get(i).Message(), path[1:])
		}
	case !f.IsMap() && !f.IsList() && f.Message() != nil:
		clearField(v.Message(), path[1:])
	}
}

// firstDifference finds the first field, by number, that differs; messages are gone into. prefix ends in "." or is empty.
func firstDifference(a, b protoreflect.Message, prefix string) (field, inA, inB string, same bool) {
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		x, y := a.Get(f), b.Get(f)
		if a.Has(f) == b.Has(f) && x.Equal(y) {
			continue
		}
		name := prefix + string(f.Name())
		switch {
		case f.IsList() && x.List().Len() == y.List().Len() && f.Message() != nil:
			for at := range x.List().Len() {
				if field, inA, inB, same = firstDifference(x.List().Get(at).Message(), y.List().Get(at).Message(), fmt.Sprintf("%s[%d].", name, at)); !same {
					return field, inA, inB, false
				}
			}
		case !f.IsList() && !f.IsMap() && f.Message() != nil && a.Has(f) && b.Has(f):
			if field, inA, inB, same = firstDifference(x.Message(), y.Message(), name+"."); !same {
				return field, inA, inB, false
			}
		default:
			return name, x.String(), y.String(), false
		}
	}
	if !bytes.Equal(a.GetUnknown(), b.GetUnknown()) {
		return prefix + "(unknown fields)", fmt.Sprintf("%x", a.GetUnknown()), fmt.Sprintf("%x", b.GetUnknown()), false
	}
	return "", "", "", true
}
