package sockjs

// The cases of SockJS's own test suite (sockjs-protocol-0.3.3.py in its last state, which adds to the first one the guard
// of JSONP, no-transform, callback names and empty frames), one test each, under the suite's names.

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// responseLimit is what the suite asks of a server under test.
const responseLimit = 4096

// The services that the suite asks for.
func echoService(t *testing.T) *gatewayUnderTest {
	g := start(t, Options{Prefix: "/echo", ResponseBytesMax: responseLimit})
	g.run(echo)
	return g
}

func closeService(t *testing.T) *gatewayUnderTest {
	g := start(t, Options{Prefix: "/close", ResponseBytesMax: responseLimit})
	g.run(dismiss)
	return g
}

func cookieService(t *testing.T) *gatewayUnderTest {
	g := start(t, Options{Prefix: "/cookie_needed_echo", ResponseBytesMax: responseLimit, Cookie: true})
	g.run(echo)
	return g
}

const goAway = `c[3000,"Go away!"]`

func TestBaseUrlGreeting(t *testing.T) {
	g := echoService(t)
	t.Run("test_greeting", func(t *testing.T) {
		for _, url := range []string{g.url, g.url + "/"} {
			r := get(t, url)
			r.is(200, "Welcome to SockJS!\n")
			r.contentType("text/plain;charset=UTF-8")
			r.lacks("Set-Cookie")
		}
	})
	t.Run("test_notFound", func(t *testing.T) {
		for _, suffix := range []string{"/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/"} {
			get(t, g.url+suffix).status(404)
		}
	})
}

var iframeBody = regexp.MustCompile(`^<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="([^"]*)"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe\(\);
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>$`)

func TestIframePage(t *testing.T) {
	g := echoService(t)
	check := func(t *testing.T, suffixes ...string) {
		for _, suffix := range suffixes {
			r := get(t, g.url+suffix)
			r.status(200)
			r.contentType("text/html;charset=UTF-8")
			r.cacheable()
			r.has("ETag")
			r.lacks("Last-Modified", "Set-Cookie")
			found := iframeBody.FindStringSubmatch(strings.TrimSpace(r.body))
			if found == nil {
				t.Fatalf("%s: this is not the iframe page:\n%s", suffix, r.body)
			}
			if !strings.HasPrefix(found[1], "/") {
				t.Errorf("%s: the script is %q", suffix, found[1])
			}
		}
	}
	t.Run("test_simpleUrl", func(t *testing.T) { check(t, "/iframe.html") })
	t.Run("test_versionedUrl", func(t *testing.T) {
		check(t, "/iframe-a.html", "/iframe-.html", "/iframe-0.1.2.html", "/iframe-0.1.2abc-dirty.2144.html")
	})
	t.Run("test_queriedUrl", func(t *testing.T) {
		check(t, "/iframe-a.html?t=1234", "/iframe-0.1.2.html?t=123414", "/iframe-0.1.2abc-dirty.2144.html?t=qweqweq123")
	})
	t.Run("test_invalidUrl", func(t *testing.T) {
		for _, suffix := range []string{"/iframe.htm", "/iframe", "/IFRAME.HTML", "/IFRAME", "/iframe.HTML", "/iframe.xml", "/iframe-/.html"} {
			get(t, g.url+suffix).status(404)
		}
	})
	t.Run("test_cacheability", func(t *testing.T) {
		one, other := get(t, g.url+"/iframe.html"), get(t, g.url+"/iframe.html")
		tag := one.header.Get("ETag")
		if tag == "" || tag != other.header.Get("ETag") {
			t.Errorf("the tags are %q and %q", tag, other.header.Get("ETag"))
		}
		again := get(t, g.url+"/iframe.html", "If-None-Match", tag)
		again.is(304, "")
		again.lacks("Content-Type")
	})
}

func (g *gatewayUnderTest) info(t *testing.T, headers ...string) (reply, map[string]any) {
	r := get(t, g.url+"/info", headers...)
	r.status(200)
	var data map[string]any
	if err := json.Unmarshal([]byte(r.body), &data); err != nil {
		t.Fatal(err)
	}
	return r, data
}

func TestInfoTest(t *testing.T) {
	g := echoService(t)
	t.Run("test_basic", func(t *testing.T) {
		r, data := g.info(t, "Origin", "test")
		r.contentType("application/json;charset=UTF-8")
		r.lacks("Set-Cookie")
		r.notCached()
		r.cors("test")
		if data["websocket"] != true || data["cookie_needed"] != false {
			t.Errorf("info is %v", data)
		}
		if origins, _ := data["origins"].([]any); len(origins) != 1 || origins[0] != "*:*" {
			t.Errorf("origins are %v", data["origins"])
		}
		if _, isNumber := data["entropy"].(float64); !isNumber {
			t.Errorf("entropy is %v", data["entropy"])
		}
	})
	t.Run("test_entropy", func(t *testing.T) {
		_, one := g.info(t)
		_, other := g.info(t)
		if one["entropy"] == other["entropy"] {
			t.Error("entropy is the same twice")
		}
	})
	t.Run("test_options", func(t *testing.T) { checkOptions(t, g.url+"/info", "OPTIONS, GET") })
	t.Run("test_options_null_origin", func(t *testing.T) {
		r := ask(t, http.MethodOptions, g.url+"/info", "", "Origin", "null", "Access-Control-Request-Method", "POST")
		r.is(204, "")
		r.equal("Access-Control-Allow-Origin", "null")
	})
	t.Run("test_disabled_websocket", func(t *testing.T) {
		_, data := start(t, Options{Prefix: "/disabled_websocket_echo", NoWebSocket: true}).info(t)
		if data["websocket"] != false {
			t.Errorf("info is %v", data)
		}
	})
}

// checkOptions is the suite's verify_options.
func checkOptions(t *testing.T, url, methods string) {
	t.Helper()
	for _, origin := range []string{"test", "null"} {
		r := ask(t, http.MethodOptions, url, "", "Access-Control-Request-Method", methods, "Origin", origin)
		r.is(204, "")
		r.cacheable()
		r.equal("Access-Control-Max-Age", "31536000")
		r.equal("Access-Control-Allow-Methods", methods)
		r.cors(origin)
	}
}

func TestSessionURLs(t *testing.T) {
	g := echoService(t)
	t.Run("test_anyValue", func(t *testing.T) {
		for _, part := range []string{"/a/a", "/_/_", "/1/1", "/abcdefgh_i-j%20/abcdefg_i-j%20"} {
			post(t, g.url+part+"/xhr", "").is(200, "o\n")
		}
	})
	t.Run("test_invalidPaths", func(t *testing.T) {
		for _, suffix := range []string{"//", "/a./a", "/a/a.", "/./.", "/", "///"} {
			get(t, g.url+suffix+"/xhr").status(404)
			post(t, g.url+suffix+"/xhr", "").status(404)
		}
	})
	t.Run("test_ignoringServerId", func(t *testing.T) {
		name := unused(t)
		post(t, g.url+"/000/"+name+"/xhr", "").is(200, "o\n")
		post(t, g.url+"/000/"+name+"/xhr_send", `["a"]`).is(204, "")
		post(t, g.url+"/999/"+name+"/xhr", "").is(200, "a[\"a\"]\n")
	})
}

func TestProtocol(t *testing.T) {
	t.Run("test_simpleSession", func(t *testing.T) {
		g := echoService(t)
		url := g.session()
		post(t, url+"/xhr", "").is(200, "o\n")
		post(t, url+"/xhr_send", `["a"]`).is(204, "")
		post(t, url+"/xhr", "").is(200, "a[\"a\"]\n")
		post(t, g.url+"/000/bad_session/xhr_send", `["a"]`).status(404)
		waiting := g.occupy(t, http.MethodPost, url+"/xhr")
		post(t, url+"/xhr", "").is(200, "c[2010,\"Another connection still open\"]\n")
		waiting.leave()
	})
	t.Run("test_closeSession", func(t *testing.T) {
		url := closeService(t).session()
		post(t, url+"/xhr", "").is(200, "o\n")
		post(t, url+"/xhr", "").is(200, goAway+"\n")
		post(t, url+"/xhr", "").is(200, goAway+"\n")
	})
}
