package bridge

import (
	"errors"
	"fmt"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"gateway/internal/zmtp"
)

// This file is pure: frames in, bytes of a gRPC message out, and the other way round.

// Payload is how frames and a gRPC message stand for each other.
type Payload int8

// The payloads.
const (
	Proto    Payload = iota // the one frame is the serialized message
	JSON                    // the one frame is the message in protobuf's JSON
	Envelope                // all frames are one gateway.v1.Multipart
)

var payloadNames = [...]string{Proto: "proto", JSON: "json", Envelope: "envelope"}

// String is the configuration's word.
func (p Payload) String() string { return payloadNames[p] }

// ParsePayload reads the configuration's word; "" is proto.
func ParsePayload(word string) (Payload, error) {
	if word == "" {
		return Proto, nil
	}
	for p, name := range payloadNames {
		if name == word {
			return Payload(p), nil
		}
	}
	return 0, fmt.Errorf("bridge: there is no payload %q: %s", word, strings.Join(payloadNames[:], ", "))
}

// errFrames says that the number of frames does not fit the payload.
var errFrames = errors.New("the payload is one frame")

// codec translates the messages of one type. JSON alone needs the type.
type codec struct {
	payload Payload
	message protoreflect.MessageDescriptor
	types   *dynamicpb.Types // for google.protobuf.Any
}

// toCall makes a gRPC message of the frames of m from the one at on. The result may lie in m.
func (c codec) toCall(m *zmtp.Message, at int) ([]byte, error) {
	if c.payload == Envelope {
		return appendMultipart(nil, m, at), nil
	}
	if m.Len()-at != 1 {
		return nil, fmt.Errorf("%d frames: %w", m.Len()-at, errFrames)
	}
	frame := m.Part(at)
	if c.payload == Proto {
		return frame, nil
	}
	message := dynamicpb.NewMessage(c.message)
	if err := (protojson.UnmarshalOptions{Resolver: c.types}).Unmarshal(frame, message); err != nil {
		return nil, fmt.Errorf("not the JSON of a %s: %w", c.message.FullName(), err)
	}
	return proto.Marshal(message)
}

// toFrames appends to m the frames of a gRPC message.
func (c codec) toFrames(m *zmtp.Message, data []byte) error {
	switch c.payload {
	case Proto:
		m.Append(data)
		return nil
	case Envelope:
		return appendFrames(m, data)
	}
	message := dynamicpb.NewMessage(c.message)
	if err := proto.Unmarshal(data, message); err != nil {
		return fmt.Errorf("not a %s: %w", c.message.FullName(), err)
	}
	text, err := protojson.MarshalOptions{Resolver: c.types}.Marshal(message)
	if err != nil {
		return fmt.Errorf("a %s as JSON: %w", c.message.FullName(), err)
	}
	m.Append(text)
	return nil
}

// framesField is Multipart's only field.
const framesField = 1

// appendMultipart appends a serialized gateway.v1.Multipart of the frames of m from the one at on.
func appendMultipart(b []byte, m *zmtp.Message, at int) []byte {
	for i := at; i < m.Len(); i++ {
		b = protowire.AppendTag(b, framesField, protowire.BytesType)
		b = protowire.AppendBytes(b, m.Part(i))
	}
	return b
}

// appendFrames appends to m the frames of a serialized gateway.v1.Multipart, of which there must be one. Unknown fields
// are passed over.
func appendFrames(m *zmtp.Message, data []byte) error {
	before := m.Len()
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("not a gateway.v1.Multipart: %w", protowire.ParseError(n))
		}
		data = data[n:]
		if number != framesField || kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
				return fmt.Errorf("not a gateway.v1.Multipart: %w", protowire.ParseError(n))
			}
			data = data[n:]
			continue
		}
		frame, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return fmt.Errorf("not a gateway.v1.Multipart: %w", protowire.ParseError(n))
		}
		m.Append(frame)
		data = data[n:]
	}
	if m.Len() == before {
		return errors.New("a gateway.v1.Multipart without frames")
	}
	return nil
}

// appendStatus appends what tells a ZeroMQ peer of an error, or, with OK, of a stream's end: an empty frame and the
// serialized google.rpc.Status.
func appendStatus(m *zmtp.Message, s *status.Status) {
	m.Append(nil)
	data, err := proto.Marshal(s.Proto())
	if err != nil { // a detail that cannot be encoded: without them it can
		data, _ = proto.Marshal(&spb.Status{Code: int32(s.Code()), Message: strings.ToValidUTF8(s.Message(), "\uFFFD")})
	}
	m.Append(data)
}

// statusOf reads what appendStatus wrote, from the frame at on.
func statusOf(m *zmtp.Message, at int) (*status.Status, bool) {
	if m.Len()-at != 2 || len(m.Part(at)) > 0 {
		return nil, false
	}
	var s spb.Status
	if err := proto.Unmarshal(m.Part(at+1), &s); err != nil || s.Code < 0 || s.Code > int32(codes.Unauthenticated) {
		return nil, false
	}
	return status.FromProto(&s), true
}

// envelopeLen is the number of frames that come before the body and go before the reply: all up to the first empty one.
// Without an empty frame, or with nothing behind it, there is no envelope, and the message is the body.
func envelopeLen(m *zmtp.Message) int {
	if n := m.EnvelopeLen(); n < m.Len() {
		return n
	}
	return 0
}

// topicRequest is the request of a server stream for a topic: a message in whose field the topic is.
func topicRequest(field int, topic []byte) []byte {
	if field == 0 {
		return nil
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, protowire.Number(field), protowire.BytesType), topic)
}

// topicOf finds the topic in the request of a server stream; the last one, if there are several.
func topicOf(field int, data []byte) (topic []byte, err error) {
	for field > 0 && len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		value := protowire.ConsumeFieldValue(number, kind, data[n:])
		if value < 0 {
			return nil, protowire.ParseError(value)
		}
		if int(number) == field && kind == protowire.BytesType {
			topic, _ = protowire.ConsumeBytes(data[n:])
		}
		data = data[n+value:]
	}
	return topic, nil
}
