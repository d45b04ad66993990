package sockjs

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestEventSource(t *testing.T) {
	g := echoService(t)
	t.Run("test_transport", func(t *testing.T) {
		url := g.session()
		s := follow(t, http.MethodGet, url+"/eventsource")
		s.status(200)
		s.contentType("text/event-stream")
		s.notCached()
		s.expect("\r\n")
		s.expect("data: o\r\n\r\n")
		post(t, url+"/xhr_send", `["x"]`).is(204, "")
		s.expect("data: a[\"x\"]\r\n\r\n")
		post(t, url+"/xhr_send", `["  \u0000\n\r "]`).is(204, "")
		s.expect("data: a[\"  \\u0000\\n\\r \"]\r\n\r\n")
	})
	t.Run("test_response_limit", func(t *testing.T) {
		url := g.session()
		s := follow(t, http.MethodGet, url+"/eventsource")
		s.expect("\r\ndata: o\r\n\r\n")
		message := `"` + strings.Repeat("x", 4096) + `"`
		post(t, url+"/xhr_send", "["+message+"]").is(204, "")
		s.expect("data: a[" + message + "]\r\n\r\n")
		s.ends()
	})
}

const htmlFileHead = `<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.callback;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>`

// htmlFrame is how htmlfile wraps a frame.
func htmlFrame(frame string) string {
	return "<script>\np(" + strconv.Quote(frame) + ");\n</script>\r\n"
}

// openHTMLFile begins to follow an htmlfile response, up to the open frame.
func openHTMLFile(t *testing.T, url string) *stream {
	s := follow(t, http.MethodGet, url+"/htmlfile?c=%63allback")
	prelude := htmlFileHead + strings.Repeat(" ", htmlPreludeBytes) + "\r\n\r\n"
	s.expect(prelude)
	s.expect(htmlFrame("o"))
	return s
}

func TestHtmlFile(t *testing.T) {
	g := echoService(t)
	t.Run("test_transport", func(t *testing.T) {
		url := g.session()
		s := openHTMLFile(t, url)
		s.status(200)
		s.contentType("text/html;charset=UTF-8")
		s.notCached()
		post(t, url+"/xhr_send", `["x"]`).is(204, "")
		s.expect(htmlFrame(`a["x"]`))
	})
	t.Run("test_no_callback", func(t *testing.T) {
		get(t, g.url+"/a/a/htmlfile").contains(500, `"callback" parameter required`)
	})
	t.Run("test_invalid_callback", func(t *testing.T) { checkCallbacks(t, g.url+"/a/a/htmlfile") })
	t.Run("test_response_limit", func(t *testing.T) {
		url := g.session()
		s := openHTMLFile(t, url)
		message := strings.Repeat("x", 4096)
		post(t, url+"/xhr_send", `["`+message+`"]`).is(204, "")
		s.expect(htmlFrame(`a["` + message + `"]`))
		s.ends()
	})
}

func checkCallbacks(t *testing.T, url string) {
	t.Helper()
	for _, callback := range []string{"%20", "*", "abc(", "abc%28"} {
		get(t, url+"?c="+callback).contains(500, `invalid "callback" parameter`)
	}
}

func TestJsonPolling(t *testing.T) {
	g := echoService(t)
	t.Run("test_transport", func(t *testing.T) {
		url := g.session()
		r := get(t, url+"/jsonp?c=%63allback")
		r.is(200, "/**/callback(\"o\");\r\n")
		r.contentType("application/javascript;charset=UTF-8")
		r.notCached()
		r = postForm(t, url+"/jsonp_send", "d=%5B%22x%22%5D")
		r.is(200, "ok")
		r.contentType("text/plain;charset=UTF-8")
		r.notCached()
		get(t, url+"/jsonp?c=%63allback").is(200, "/**/callback(\"a[\\\"x\\\"]\");\r\n")
	})
	t.Run("test_no_callback", func(t *testing.T) {
		get(t, g.url+"/a/a/jsonp").contains(500, `"callback" parameter required`)
	})
	t.Run("test_invalid_callback", func(t *testing.T) { checkCallbacks(t, g.url+"/a/a/jsonp") })
	t.Run("test_invalid_json", func(t *testing.T) {
		url := g.session()
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"o\");\r\n")
		postForm(t, url+"/jsonp_send", "d=%5B%22x").contains(500, "Broken JSON encoding.")
		for _, form := range []string{"", "d=", "p=p"} {
			postForm(t, url+"/jsonp_send", form).contains(500, "Payload expected.")
		}
		postForm(t, url+"/jsonp_send", "d=%5B%22b%22%5D").is(200, "ok")
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"a[\\\"b\\\"]\");\r\n")
	})
	t.Run("test_content_types", func(t *testing.T) {
		url := g.session()
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"o\");\r\n")
		postForm(t, url+"/jsonp_send", "d=%5B%22abc%22%5D").is(200, "ok")
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"a[\\\"abc\\\"]\");\r\n")
		post(t, url+"/jsonp_send", `["%61bc"]`, "Content-Type", "text/plain").is(200, "ok")
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"a[\\\"%61bc\\\"]\");\r\n")
	})
	t.Run("test_close", func(t *testing.T) {
		url := closeService(t).session()
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"o\");\r\n")
		for range 2 {
			get(t, url+"/jsonp?c=x").is(200, "/**/x(\"c[3000,\\\"Go away!\\\"]\");\r\n")
		}
	})
	t.Run("test_sending_empty_frame", func(t *testing.T) {
		url := g.session()
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"o\");\r\n")
		postForm(t, url+"/jsonp_send", "d=%5B%5D").is(200, "ok")
		postForm(t, url+"/jsonp_send", "d=%5B%22x%22%5D").is(200, "ok")
		get(t, url+"/jsonp?c=x").is(200, "/**/x(\"a[\\\"x\\\"]\");\r\n")
	})
}

func TestJsessionidCookie(t *testing.T) {
	g := cookieService(t)
	check := func(t *testing.T, r reply, value string) {
		t.Helper()
		r.status(200)
		r.equal("Set-Cookie", "JSESSIONID="+value+"; Path=/")
	}
	t.Run("test_basic", func(t *testing.T) {
		r, data := g.info(t)
		r.lacks("Set-Cookie")
		if data["cookie_needed"] != true {
			t.Errorf("info is %v", data)
		}
	})
	t.Run("test_xhr", func(t *testing.T) {
		check(t, post(t, g.session()+"/xhr", ""), "dummy")
		check(t, post(t, g.session()+"/xhr", "", "Cookie", "JSESSIONID=abcdef"), "abcdef")
	})
	t.Run("test_xhr_streaming", func(t *testing.T) {
		check(t, follow(t, http.MethodPost, g.session()+"/xhr_streaming").reply, "dummy")
	})
	t.Run("test_eventsource", func(t *testing.T) {
		check(t, follow(t, http.MethodGet, g.session()+"/eventsource").reply, "dummy")
	})
	t.Run("test_htmlfile", func(t *testing.T) {
		check(t, follow(t, http.MethodGet, g.session()+"/htmlfile?c=%63allback").reply, "dummy")
	})
	t.Run("test_jsonp", func(t *testing.T) {
		url := g.session()
		r := get(t, url+"/jsonp?c=%63allback")
		r.is(200, "/**/callback(\"o\");\r\n")
		check(t, r, "dummy")
		r = postForm(t, url+"/jsonp_send", "d=%5B%22x%22%5D")
		r.is(200, "ok")
		check(t, r, "dummy")
	})
}

func TestHttp10(t *testing.T) {
	t.Run("test_synchronous", func(t *testing.T) {
		g := echoService(t)
		c := rawRequest(t, g.url, "GET /echo HTTP/1.0\nConnection: Keep-Alive")
		for range 2 { // the connection can be used again
			r := reply{t: t, header: c.head("200")}
			r.lacks("Transfer-Encoding")
			r.equal("Content-Length", "19")
			r.equal("Connection", "keep-alive")
			if got := c.read(19); got != "Welcome to SockJS!\n" {
				t.Errorf("the body is %q", got)
			}
			c.send("x", "GET /echo HTTP/1.0\nConnection: Keep-Alive")
		}
	})
	t.Run("test_streaming", func(t *testing.T) {
		g := closeService(t)
		c := rawRequest(t, g.url, "POST /close/000/"+unused(t)+"/xhr_streaming HTTP/1.0\nConnection: Keep-Alive\nContent-Length: 0")
		r := reply{t: t, header: c.head("200")}
		r.lacks("Transfer-Encoding", "Content-Length")
		if got := c.read(2049 + 2 + 19); !strings.HasSuffix(got, "h\no\n"+goAway+"\n") {
			t.Errorf("the body ends with %q", got[2000:])
		}
		c.atEnd()
	})
}

func TestHttp11(t *testing.T) {
	t.Run("test_synchronous", func(t *testing.T) {
		g := echoService(t)
		c := rawRequest(t, g.url, "GET /echo HTTP/1.1\nConnection: Keep-Alive")
		for range 2 {
			r := reply{t: t, header: c.head("200")}
			r.equal("Content-Length", "19")
			r.lacks("Transfer-Encoding", "Connection")
			if got := c.read(19); got != "Welcome to SockJS!\n" {
				t.Errorf("the body is %q", got)
			}
			c.send("x", "GET /echo HTTP/1.1\nConnection: Keep-Alive")
		}
	})
	t.Run("test_streaming", func(t *testing.T) {
		g := closeService(t)
		c := rawRequest(t, g.url, "POST /close/000/"+unused(t)+"/xhr_streaming HTTP/1.1\nConnection: Keep-Alive\nContent-Length: 0")
		r := reply{t: t, header: c.head("200")}
		r.equal("Transfer-Encoding", "chunked")
		r.lacks("Content-Length")
		// Each frame is a chunk of its own.
		for _, want := range []string{strings.Repeat("h", 2048) + "\n", "o\n", goAway + "\n", ""} {
			if size := c.line(); size != fmt.Sprintf("%x", len(want)) {
				t.Fatalf("a chunk of %q bytes, want %q", size, want)
			}
			if got := c.read(len(want) + 2); got != want+"\r\n" {
				t.Fatalf("the chunk is %q, want %q", got, want)
			}
		}
	})
}
