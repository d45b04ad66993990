package sockjs

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"gateway/internal/zmtp"
)

func FuzzStringsComeBackFromJSON(f *testing.F) {
	for _, seed := range []string{"", "a", "\"\\\n\r\t\x00\x1f", "</script>&'", "\u200c\u2028\u206f\ufff0\ufeff", "😀", "\xff", "a\xc3"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, script := range []bool{false, true} {
			quoted := appendString(nil, text, script)
			var got string
			if err := json.Unmarshal(quoted, &got); err != nil {
				t.Fatalf("%q became %q: %v", text, quoted, err)
			}
			if utf8.Valid(text) && got != string(text) {
				t.Errorf("%q came back as %q", text, got)
			}
			if script && strings.ContainsAny(string(quoted), "<>&'\u2028\u2029") {
				t.Errorf("%q could leave its script: %q", text, quoted)
			}
		}
	})
}

func FuzzPayloadsAreReadAsJSONIs(f *testing.F) {
	for _, seed := range []string{`["a"]`, `[]`, `"a"`, `["a`, `[1]`, `{}`, `null`, `["\ud800"]`, ` ["a"]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 {
			return
		}
		messages, err := parseWebSocketPayload(payload)
		if err == nil && !json.Valid(payload) {
			t.Errorf("%q is no JSON but says %q", payload, messages)
		}
		for _, message := range messages {
			if !utf8.ValidString(message) {
				t.Errorf("%q makes a message that is no UTF-8: %q", payload, message)
			}
		}
	})
}

func FuzzPathsNameOneThing(f *testing.F) {
	for _, seed := range []string{"", "/", "/info", "/websocket", "/iframe-1.html", "/0/a/xhr", "/0/a/xhr/", "//", "/./a/xhr", "/0/a/info"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if path != "" && path[0] != '/' {
			return
		}
		e, session, ok := locate(path)
		if ok && session != "" && (!strings.HasSuffix(path, "/"+session+"/"+string(e)) || strings.ContainsAny(session, "./")) {
			t.Errorf("%q is %s of session %q", path, e, session)
		}
		if !ok && (e != "" || session != "") {
			t.Errorf("%q is nothing and yet %q %q", path, e, session)
		}
	})
}

// nothing is a Send without programs.
func nothing(context.Context, *zmtp.Message) error { return nil }

// TestMessageTowardsABrowserAllocatesNothing: what a program says goes into memory that is there.
func TestMessageTowardsABrowserAllocatesNothing(t *testing.T) {
	for _, e := range []endpoint{webSocketPath, rawWebSocketPath} {
		s, err := New(Options{Send: nothing})
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.openLocked(e, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.opened = true
		m := zmtp.NewMessage([]byte(typeMessage), []byte(c.id), []byte("hello, world"))
		if n := testing.AllocsPerRun(100, func() {
			s.Deliver(m)
			s.Deliver(m)
			for f := c.take(); f.kind != frameNone; f = c.take() {
				<-c.wake
				c.wake <- struct{}{}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a message", e, n)
		}
		<-c.turn
		if n := testing.AllocsPerRun(100, func() {
			if err := c.forward(t.Context(), m.Part(partData)); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a message to the programs", e, n)
		}
		done, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(done)
	}
}
