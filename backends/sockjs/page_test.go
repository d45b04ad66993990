package sockjs

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestStaticFilesLieBesideTheProtocol(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	g := start(t, Options{Prefix: "/chat", Static: fstest.MapFS{
		"index.html": file("<title>chat</title>"), "style.css": file("body{}"), "more/a.txt": file("a"), "info": file("shadowed"),
		".secret": file("s"), "more/.secret": file("s"),
	}})
	get(t, g.url+"/").is(200, "<title>chat</title>")
	get(t, g.url).is(200, "Welcome to SockJS!\n")
	css := get(t, g.url+"/style.css")
	css.is(200, "body{}")
	css.contentType("text/css;charset=utf-8")
	get(t, g.url+"/more/a.txt").is(200, "a")
	get(t, g.url+"/info").contains(200, "entropy")
	for _, path := range []string{"/more/", "/more", "/.secret", "/more/.secret", "/none", "/../go.mod", "/more/../../go.mod"} {
		if r := get(t, g.url+path); r.code != 404 && r.code != 400 {
			t.Errorf("%s: %d %q", path, r.code, r.body)
		}
	}
	post(t, g.url+"/style.css", "").status(404)
}

func TestFilesHaveAPathOfTheirOwn(t *testing.T) {
	web := httptest.NewServer(NewFiles("/samples", fstest.MapFS{"index.html": &fstest.MapFile{Data: []byte("a page")}}))
	defer web.Close()
	get(t, web.URL+"/samples").is(200, "a page") // by way of a redirect
	get(t, web.URL+"/samples/").is(200, "a page")
	for _, path := range []string{"/", "/samplesx", "/samples/none", "/samples/../x"} {
		get(t, web.URL+path).status(404)
	}
}

func TestNothingOutsideTheStaticFolderIsServed(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.txt")
	inside := t.TempDir()
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(inside, "link.txt")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	g := start(t, Options{Static: root.FS()})
	get(t, g.url+"/link.txt").status(404)
}

func TestClientScriptIsServedFromTheGateway(t *testing.T) {
	g := start(t, Options{Prefix: "/a/b"})
	r := get(t, g.url+"/sockjs.min.js")
	r.contains(200, "sockjs-client v1.6.1")
	r.contentType("application/javascript;charset=UTF-8")
	r.cacheable()
	if page := get(t, g.url+"/iframe.html").body; !strings.Contains(page, `<script src="/a/b/sockjs.min.js">`) {
		t.Errorf("the iframe page loads its script from elsewhere:\n%s", page)
	}
}

func TestPagesOfOtherOriginsAreRefusedWhereConfigured(t *testing.T) {
	g := start(t, Options{Block: "chat", Origins: []string{"https://app.example", "https://*.wild.example"}})
	own := strings.TrimSuffix(g.url, "/")
	const refused, answered = 403, 200
	for _, c := range []struct {
		path, header, value string
		want                int
	}{
		{"/info", "Origin", "https://app.example", answered},
		{"/info", "Origin", "https://one.wild.example", answered},
		{"/info", "Origin", own, answered},
		{"/info", "X-Program", "has no origin", answered},
		{"/info", "Origin", "https://wild.example", refused},
		{"/info", "Origin", "http://app.example", refused},
		{"/info", "Origin", "https://evil.example", refused},
		{"/info", "Origin", "null", refused},
		{"/0/s/jsonp?c=x", "Referer", "https://evil.example/page", refused},
		{"/0/s/jsonp?c=x", "X-Nothing", "at all", refused},
		{"/0/s/jsonp?c=x", "Referer", "https://app.example/page", answered},
	} {
		if r := get(t, g.url+c.path, c.header, c.value); r.code != c.want {
			t.Errorf("%s with %s %s: %d, want %d", c.path, c.header, c.value, r.code, c.want)
		}
	}
	get(t, g.url+"/iframe.html").equal("Content-Security-Policy", "frame-ancestors 'self' https://app.example https://*.wild.example")
	if got := value(t, g.metrics.Refused.WithLabelValues("chat", "origin")); got != 6 {
		t.Errorf("%v refusals counted, want 6", got)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no Send":             {},
		"prefix":              {Prefix: "chat"},
		"origin without host": {Origins: []string{"app.example"}},
		"origin with a path":  {Origins: []string{"https://app.example/page"}},
		"origin *.*":          {Origins: []string{"https://*.*.example"}},
	} {
		if name != "no Send" {
			o.Send = nothing
		}
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPathsOutsideThePrefixAreUnknown(t *testing.T) {
	g := start(t, Options{Prefix: "/chat"})
	base := strings.TrimSuffix(g.url, "/chat")
	for _, path := range []string{"/", "/chatter", "/chatter/info", "/info"} {
		get(t, base+path).status(404)
	}
	root := start(t, Options{Prefix: "/"})
	get(t, root.url).is(200, "Welcome to SockJS!\n")
	get(t, root.url+"/info").contains(200, "entropy")
}
