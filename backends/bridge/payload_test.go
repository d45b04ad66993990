package bridge

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"gateway/internal/zmtp"
	gatewayv1 "gateway/proto/gateway/v1"
)

func messageOf(frames ...string) *zmtp.Message {
	m := &zmtp.Message{}
	for _, f := range frames {
		m.Append([]byte(f))
	}
	return m
}

func TestEnvelopeIsAMultipartOfProto(t *testing.T) {
	for _, frames := range [][]string{{"a"}, {""}, {"", ""}, {"a", "", strings.Repeat("x", 300)}} {
		data, err := codec{payload: Envelope}.toCall(messageOf(append([]string{"skipped"}, frames...)...), 1)
		must(t, err)
		var got gatewayv1.Multipart
		must(t, proto.Unmarshal(data, &got))
		if string(bytes.Join(got.Frames, []byte("|"))) != strings.Join(frames, "|") || len(got.Frames) != len(frames) {
			t.Errorf("%q became %q", frames, got.Frames)
		}
		back := &zmtp.Message{}
		must(t, codec{payload: Envelope}.toFrames(back, data))
		if back.Len() != len(frames) {
			t.Errorf("%q came back as %q", frames, back.Parts())
		}
	}
	withUnknown := append([]byte{0x10, 0x05, 0x1a, 0x01, 'x'}, 0x0a, 0x01, 'a')
	m := &zmtp.Message{}
	if err := (codec{payload: Envelope}).toFrames(m, withUnknown); err != nil || m.Len() != 1 {
		t.Errorf("unknown fields: %q, %v", m.Parts(), err)
	}
	for _, broken := range []string{"", "\x0a", "\x0a\x05a", "\xff", "\x10", "\x10\x05"} {
		if err := (codec{payload: Envelope}).toFrames(&zmtp.Message{}, []byte(broken)); err == nil {
			t.Errorf("%q was taken for a Multipart", broken)
		}
	}
}

func TestStatusSurvivesTheWay(t *testing.T) {
	for _, s := range []*status.Status{
		status.New(codes.OK, ""), status.New(codes.NotFound, "no ü"), status.New(codes.Unauthenticated, ""),
	} {
		m := messageOf("id", "")
		appendStatus(m, s)
		got, is := statusOf(m, 2)
		if !is || got.Code() != s.Code() || got.Message() != s.Message() {
			t.Errorf("%v became %v", s, got)
		}
	}
	m := &zmtp.Message{}
	appendStatus(m, status.New(codes.Internal, "bad \xff text"))
	if got, is := statusOf(m, 0); !is || got.Code() != codes.Internal {
		t.Errorf("text that is no UTF-8 became %v", got)
	}
	for _, frames := range [][]string{{}, {""}, {"a", ""}, {"", "", ""}, {"", "\xff"}, {"", "\x08\x63"}} {
		if s, is := statusOf(messageOf(frames...), 0); is {
			t.Errorf("%q was taken for %v", frames, s)
		}
	}
}

func TestEnvelopeEndsWithTheFirstEmptyFrame(t *testing.T) {
	for want, frames := range map[int][][]string{
		0: {{"body"}, {""}, {"a", "b"}, {"a", "b", ""}},
		1: {{"", "body"}, {"", ""}, {"", "", ""}},
		3: {{"hop", "hop", "", "body", "", "x"}},
	} {
		for _, f := range frames {
			if got := envelopeLen(messageOf(f...)); got != want {
				t.Errorf("%q has an envelope of %d frames, want %d", f, got, want)
			}
		}
	}
}

func TestTopicGoesIntoItsFieldAndIsFoundThere(t *testing.T) {
	for _, topic := range []string{"", "a", strings.Repeat("x", 300)} {
		got, err := topicOf(7, append([]byte{0x08, 0x01}, topicRequest(7, []byte(topic))...))
		if err != nil || string(got) != topic {
			t.Errorf("%.10q became %.10q, %v", topic, got, err)
		}
	}
	if got, err := topicOf(0, []byte("anything")); got != nil || err != nil || topicRequest(0, []byte("x")) != nil {
		t.Errorf("without a field: %q, %v", got, err)
	}
	if _, err := topicOf(1, []byte("\x0a\x05a")); err == nil {
		t.Error("a request that is cut off was read")
	}
}

func TestPayloadWords(t *testing.T) {
	for word, want := range map[string]Payload{"": Proto, "proto": Proto, "json": JSON, "envelope": Envelope} {
		if got, err := ParsePayload(word); got != want || err != nil {
			t.Errorf("%q is %v, %v", word, got, err)
		}
	}
	if _, err := ParsePayload("xml"); err == nil || !strings.Contains(err.Error(), "proto, json, envelope") {
		t.Errorf("got %v", err)
	}
}

func TestProtoIsOneFrame(t *testing.T) {
	if _, err := (codec{}).toCall(messageOf("a", "b"), 0); !errors.Is(err, errFrames) {
		t.Errorf("got %v", err)
	}
}

func FuzzMultipart(f *testing.F) {
	f.Add([]byte("\x0a\x01a\x0a\x00"))
	f.Add([]byte("\x10\x05"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &zmtp.Message{}
		err := appendFrames(m, data)
		var want gatewayv1.Multipart
		if wantErr := proto.Unmarshal(data, &want); (wantErr != nil || len(want.Frames) == 0) != (err != nil) {
			t.Fatalf("%x: %v, protobuf says %v", data, err, wantErr)
		}
		if err == nil && m.Len() != len(want.Frames) {
			t.Fatalf("%x: %d frames, want %d", data, m.Len(), len(want.Frames))
		}
	})
}
