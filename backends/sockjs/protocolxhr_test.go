package sockjs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"
)

func TestXhrPolling(t *testing.T) {
	g := echoService(t)
	t.Run("test_options", func(t *testing.T) {
		checkOptions(t, g.url+"/abc/abc/xhr", "OPTIONS, POST")
		checkOptions(t, g.url+"/abc/abc/xhr_send", "OPTIONS, POST")
	})
	t.Run("test_transport", func(t *testing.T) {
		url := g.session()
		r := post(t, url+"/xhr", "", "Origin", "test")
		r.is(200, "o\n")
		r.contentType("application/javascript;charset=UTF-8")
		r.cors("test")
		r.notCached()
		r = post(t, url+"/xhr_send", `["x"]`, "Origin", "test")
		r.is(204, "")
		r.contentType("text/plain;charset=UTF-8")
		r.cors("test")
		r.notCached()
		r = post(t, url+"/xhr", "")
		r.is(200, "a[\"x\"]\n")
		r.cors("")
	})
	t.Run("test_invalid_session", func(t *testing.T) { post(t, g.session()+"/xhr_send", `["x"]`).status(404) })
	t.Run("test_invalid_json", func(t *testing.T) {
		url := g.session()
		post(t, url+"/xhr", "").is(200, "o\n")
		post(t, url+"/xhr_send", `["x`).contains(500, "Broken JSON encoding.")
		post(t, url+"/xhr_send", "").contains(500, "Payload expected.")
		post(t, url+"/xhr_send", `["a"]`).is(204, "")
		post(t, url+"/xhr", "").is(200, "a[\"a\"]\n")
	})
	t.Run("test_content_types", func(t *testing.T) {
		url := g.session()
		post(t, url+"/xhr", "").is(200, "o\n")
		types := []string{
			"text/plain", "T", "application/json", "application/xml", "", "application/json; charset=utf-8", "text/xml; charset=utf-8", "text/xml",
		}
		for _, contentType := range types {
			post(t, url+"/xhr_send", `["a"]`, "Content-Type", contentType).is(204, "")
		}
		g.collects(t, url, strings.Repeat(`"a",`, len(types)-1)+`"a"`)
	})
	t.Run("test_request_headers_cors", func(t *testing.T) {
		for _, want := range []string{"a, b, c", ""} {
			r := ask(t, http.MethodOptions, g.session()+"/xhr", "",
				"Origin", "test", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", want)
			r.status(204)
			r.cors("test")
			r.equal("Access-Control-Allow-Headers", want)
		}
		r := ask(t, http.MethodOptions, g.session()+"/xhr", "", "Origin", "test", "Access-Control-Request-Method", "POST")
		r.status(204)
		r.cors("test")
		r.lacks("Access-Control-Allow-Headers")
	})
	t.Run("test_sending_empty_frame", func(t *testing.T) {
		url := g.session()
		post(t, url+"/xhr", "").is(200, "o\n")
		post(t, url+"/xhr_send", `[]`).is(204, "")
		post(t, url+"/xhr_send", `["a"]`).is(204, "")
		post(t, url+"/xhr", "").is(200, "a[\"a\"]\n")
	})
}

// collects polls until all of these messages came, in order: echoes come in one frame or in several.
func (g *gatewayUnderTest) collects(t *testing.T, url, want string) {
	t.Helper()
	var got []string
	for strings.Join(got, ",") != want {
		r := post(t, url+"/xhr", "")
		frame, ok := strings.CutPrefix(r.body, "a[")
		if r.code != 200 || !ok || len(got) > strings.Count(want, ",") {
			t.Fatalf("after %v the poll says %d %q, want %s", got, r.code, r.body, want)
		}
		got = append(got, strings.TrimSuffix(frame, "]\n"))
	}
}

func TestXhrStreaming(t *testing.T) {
	g := echoService(t)
	prelude := strings.Repeat("h", 2048) + "\n"
	t.Run("test_options", func(t *testing.T) { checkOptions(t, g.url+"/abc/abc/xhr_streaming", "OPTIONS, POST") })
	t.Run("test_transport", func(t *testing.T) {
		url := g.session()
		s := follow(t, http.MethodPost, url+"/xhr_streaming", "Origin", "test")
		s.status(200)
		s.contentType("application/javascript;charset=UTF-8")
		s.cors("test")
		s.notCached()
		s.expect(prelude)
		s.expect("o\n")
		post(t, url+"/xhr_send", `["x"]`).is(204, "")
		s.expect("a[\"x\"]\n")
	})
	t.Run("test_response_limit", func(t *testing.T) {
		url := g.session()
		s := follow(t, http.MethodPost, url+"/xhr_streaming")
		s.expect(prelude + "o\n")
		message := `"` + strings.Repeat("x", 128) + `"`
		for range 31 {
			post(t, url+"/xhr_send", "["+message+"]").is(204, "")
			s.expect("a[" + message + "]\n")
		}
		s.ends()
	})
}

func TestHandlingClose(t *testing.T) {
	prelude := strings.Repeat("h", 2048) + "\n"
	open := func(t *testing.T, url string) *stream {
		s := follow(t, http.MethodPost, url+"/xhr_streaming")
		s.expect(prelude)
		return s
	}
	const busy = "c[2010,\"Another connection still open\"]\n"
	t.Run("test_close_frame", func(t *testing.T) {
		url := closeService(t).session()
		one := open(t, url)
		one.expect("o\n" + goAway + "\n")
		other := open(t, url)
		other.expect(goAway + "\n")
		one.ends()
		other.ends()
	})
	t.Run("test_close_request", func(t *testing.T) {
		url := echoService(t).session()
		open(t, url).expect("o\n")
		other := open(t, url)
		other.expect(busy)
		other.ends()
	})
	t.Run("test_abort_xhr_streaming", func(t *testing.T) {
		g := echoService(t)
		url := g.session()
		one := open(t, url)
		one.expect("o\n")
		other := open(t, url)
		other.expect(busy)
		other.ends()
		one.leave()
		g.abandoned(t)
		open(t, url).expect("c[1002,\"Connection interrupted\"]\n")
	})
	t.Run("test_abort_xhr_polling", func(t *testing.T) {
		g := echoService(t)
		url := g.session()
		post(t, url+"/xhr", "").is(200, "o\n")
		waiting := g.occupy(t, http.MethodPost, url+"/xhr")
		post(t, url+"/xhr", "").is(200, busy)
		waiting.leave()
		g.abandoned(t)
		post(t, url+"/xhr", "").is(200, "c[1002,\"Connection interrupted\"]\n")
	})
}

// abandoned waits until the gateway has noticed that its only browser left.
func (g *gatewayUnderTest) abandoned(t *testing.T) {
	t.Helper()
	eventually(t, "the session has ended", func() bool { return len(g.Status().Sessions) == 0 })
}

// runes are all of the basic plane, from the first on, that a condition holds for, as JSON escapes.
func runes(first rune, holds func(rune) bool) string {
	var b strings.Builder
	for r := first; r <= 0xffff; r++ {
		if holds(r) && !unicode.Is(unicode.Cs, r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func TestJSONEncoding(t *testing.T) {
	g := echoService(t)
	t.Run("test_xhr_server_encodes", func(t *testing.T) {
		killer := `"` + runes(255, func(r rune) bool {
			return r >= 0x200c && r <= 0x200f || r >= 0x2028 && r <= 0x202f || r >= 0x2060 && r <= 0x206f || r >= 0xfff0
		}) + `"`
		var verbatim string
		if err := json.Unmarshal([]byte(killer), &verbatim); err != nil {
			t.Fatal(err)
		}
		url := g.session()
		post(t, url+"/xhr", "").is(200, "o\n")
		post(t, url+"/xhr_send", `["`+verbatim+`"]`).is(204, "")
		post(t, url+"/xhr", "").is(200, "a["+killer+"]\n")
	})
	t.Run("test_xhr_server_decodes", func(t *testing.T) {
		killer := `"` + runes(0, func(r rune) bool { return r < 0xa0 || r >= 0x300 && r < 0x2100 || r >= 0xf900 }) + `"` // more than browsers escape
		url := g.session()
		post(t, url+"/xhr", "").is(200, "o\n")
		post(t, url+"/xhr_send", "["+killer+"]").is(204, "")
		r := post(t, url+"/xhr", "")
		var sent string
		var got []string
		if err := json.Unmarshal([]byte(killer), &sent); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(r.body, "a")), &got); err != nil || len(got) != 1 || got[0] != sent {
			t.Errorf("%d bytes came back as %d messages (%v)", len(sent), len(got), err)
		}
	})
}
