package sockjs

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// reply is what an HTTP request got.
type reply struct {
	t      testing.TB
	code   int
	header http.Header
	body   string
}

// browser makes each request on a connection of its own.
var browser = &http.Client{
	Timeout:   patience,
	Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
}

func request(t testing.TB, method, url, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func ask(t testing.TB, method, url, body string, headers ...string) reply {
	t.Helper()
	response, err := browser.Do(request(t, method, url, body, headers...))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{t, response.StatusCode, response.Header, string(content)}
}

func get(t testing.TB, url string, headers ...string) reply {
	t.Helper()
	return ask(t, http.MethodGet, url, "", headers...)
}

func post(t testing.TB, url, body string, headers ...string) reply {
	t.Helper()
	return ask(t, http.MethodPost, url, body, headers...)
}

func postForm(t testing.TB, url, body string) reply {
	t.Helper()
	return post(t, url, body, "Content-Type", "application/x-www-form-urlencoded")
}

func (r reply) status(code int) {
	r.t.Helper()
	if r.code != code {
		r.t.Errorf("the status is %d, want %d (%q)", r.code, code, r.body)
	}
}

func (r reply) is(code int, body string) {
	r.t.Helper()
	if r.code != code || r.body != body {
		r.t.Errorf("the reply is %d %q, want %d %q", r.code, r.body, code, body)
	}
}

func (r reply) contains(code int, text string) {
	r.t.Helper()
	if r.code != code || !strings.Contains(r.body, text) {
		r.t.Errorf("the reply is %d %q, want %d with %q", r.code, r.body, code, text)
	}
}

func (r reply) equal(header, value string) {
	r.t.Helper()
	if got := r.header.Get(header); got != value {
		r.t.Errorf("%s is %q, want %q", header, got, value)
	}
}

func (r reply) has(header string) {
	r.t.Helper()
	if r.header.Get(header) == "" {
		r.t.Errorf("there is no %s", header)
	}
}

func (r reply) lacks(headers ...string) {
	r.t.Helper()
	for _, header := range headers {
		if got := r.header.Get(header); got != "" {
			r.t.Errorf("there is a %s: %q", header, got)
		}
	}
}

func (r reply) contentType(want string) {
	r.t.Helper()
	if got := strings.ReplaceAll(r.header.Get("Content-Type"), " ", ""); got != want {
		r.t.Errorf("the content type is %q, want %q", got, want)
	}
}

var longAge = regexp.MustCompile(`public.*max-age=[1-9][0-9]{6}`)

func (r reply) cacheable() {
	r.t.Helper()
	if !longAge.MatchString(r.header.Get("Cache-Control")) {
		r.t.Errorf("Cache-Control is %q", r.header.Get("Cache-Control"))
	}
	r.has("Expires")
}

func (r reply) notCached() {
	r.t.Helper()
	r.equal("Cache-Control", "no-store, no-cache, no-transform, must-revalidate, max-age=0")
	r.lacks("Expires", "Last-Modified")
}

// cors checks that pages of an origin may read the reply; "" is a request without one.
func (r reply) cors(origin string) {
	r.t.Helper()
	if origin == "" {
		r.equal("Access-Control-Allow-Origin", "*")
		r.lacks("Access-Control-Allow-Credentials")
		return
	}
	r.equal("Access-Control-Allow-Origin", origin)
	r.equal("Access-Control-Allow-Credentials", "true")
}

// stream is a response that goes on.
type stream struct {
	reply
	content io.ReadCloser
	leave   func() // as a browser that navigates away
}

// follow begins a request whose response goes on.
func follow(t testing.TB, method, url string, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	response, err := browser.Do(request(t, method, url, "", headers...).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{reply{t, response.StatusCode, response.Header, ""}, response.Body, func() {
		cancel()
		response.Body.Close()
	}}
	t.Cleanup(s.leave)
	return s
}

// expect reads exactly this.
func (s *stream) expect(want string) {
	s.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(s.content, got)
	if err != nil || string(got) != want {
		s.t.Fatalf("the stream says %q (%v), want %q", got[:n], err, want)
	}
}

// ends checks that nothing more comes.
func (s *stream) ends() {
	s.t.Helper()
	if rest, err := io.ReadAll(s.content); err != nil || len(rest) > 0 {
		s.t.Errorf("the stream goes on: %q (%v)", rest, err)
	}
}

// occupy begins a request that waits, and returns once the session knows it.
func (g *gatewayUnderTest) occupy(t testing.TB, method, url string) *stream {
	t.Helper()
	name := strings.Split(strings.TrimPrefix(url, g.url), "/")[2]
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		response, err := browser.Do(request(t, method, url, "").WithContext(ctx))
		if err == nil {
			response.Body.Close()
		}
	}()
	s := &stream{reply: reply{t: t}, leave: func() { cancel(); <-done }}
	t.Cleanup(s.leave)
	eventually(t, "the request waits", func() bool {
		c := g.named(name)
		if c == nil {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.attached
	})
	return s
}

// socket is a WebSocket of a test.
type socket struct {
	t testing.TB
	*websocket.Conn
}

func dial(t testing.TB, url string, headers ...string) *socket {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	conn, response, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http"), h)
	if err != nil {
		t.Fatalf("%s: %v (%+v)", url, err, response)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(patience))
	return &socket{t, conn}
}

func (s *socket) say(text string) {
	s.t.Helper()
	if err := s.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) hear(want string) {
	s.t.Helper()
	s.SetReadDeadline(time.Now().Add(patience))
	if _, got, err := s.ReadMessage(); err != nil || string(got) != want {
		s.t.Fatalf("the WebSocket says %q (%v), want %q", got, err, want)
	}
}

// closed waits for the end, and returns the reason if one was given.
func (s *socket) closed() (reason string) {
	s.t.Helper()
	s.SetReadDeadline(time.Now().Add(patience))
	_, got, err := s.ReadMessage()
	if err == nil {
		s.t.Fatalf("the WebSocket says %q, want it closed", got)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		s.t.Fatal("the WebSocket stays open")
	}
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		return closed.Text
	}
	return ""
}

// raw is one request by hand.
type raw struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func rawRequest(t testing.TB, url, head string) *raw {
	t.Helper()
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	r := &raw{t, c, bufio.NewReader(c)}
	r.send(host, head)
	return r
}

// send writes a head, with the host, and the empty line.
func (r *raw) send(host, head string) {
	r.t.Helper()
	if _, err := io.WriteString(r, strings.ReplaceAll(head, "\n", "\r\n")+"\r\nHost: "+host+"\r\n\r\n"); err != nil {
		r.t.Fatal(err)
	}
}

// head reads the status line and the headers.
func (r *raw) head(status string) http.Header {
	r.t.Helper()
	line := r.line()
	if !strings.Contains(line, " "+status+" ") {
		r.t.Fatalf("the status line is %q, want %s", line, status)
	}
	h := http.Header{}
	for line := r.line(); line != ""; line = r.line() {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimSpace(value))
	}
	return h
}

func (r *raw) line() string {
	r.t.Helper()
	line, err := r.in.ReadString('\n')
	if err != nil {
		r.t.Fatalf("a line: %q: %v", line, err)
	}
	return strings.TrimRight(line, "\r\n")
}

func (r *raw) read(n int) string {
	r.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r.in, p); err != nil {
		r.t.Fatal(err)
	}
	return string(p)
}

// atEnd checks that the server has closed.
func (r *raw) atEnd() {
	r.t.Helper()
	if rest, err := io.ReadAll(r.in); err != nil || len(rest) > 0 {
		r.t.Errorf("the connection goes on: %q (%v)", rest, err)
	}
}
