package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/test/bufconn"
)

func ask(t *testing.T, o Options, method, path, authorization string) (code int, body string) {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	Handler(o).ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func options() Options {
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."})
	r.MustRegister(c)
	c.Add(3)
	return Options{
		Gather: r,
		Status: func() any { return map[string]int{"open": 7} },
		Ready:  func() error { return nil },
		Token:  func() string { return "" },
		Reload: func() error { return nil },

		Upgrade: func() (string, error) { return "process 7 serves", nil },
	}
}

func TestSiteThatGivesItsNameTheLoopbackAddressLearnsNothing(t *testing.T) {
	var token string
	o := options()
	o.Token = func() string { return token }
	server := httptest.NewServer(Handler(o))
	defer server.Close()
	get := func(host string) int {
		r, err := http.NewRequest("GET", server.URL+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	for _, good := range []string{"127.0.0.1:9000", "localhost", "localhost:9000", "[::1]:9000", "[::1]"} {
		if code := get(good); code != http.StatusOK {
			t.Errorf("%s is answered %d", good, code)
		}
	}
	if code := get("evil.example:9000"); code != http.StatusForbidden {
		t.Errorf("another site's name is answered %d", code)
	}
	token = "secret"
	if code := get("proxy.example"); code != http.StatusOK {
		t.Errorf("with the token, a name is answered %d", code)
	}
}

func TestOperatorReadsMetricsStatusAndHealth(t *testing.T) {
	for path, want := range map[string]string{
		"/metrics": "things_total 3",
		"/status":  `"open": 7`,
		"/healthz": "ok",
		"/readyz":  "ready",
		"/":        "Ways of connections",
		"/ways.js": "export class Window",
	} {
		code, body := ask(t, options(), "GET", path, "")
		if code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %q, want 200 and %q", path, code, body, want)
		}
	}
}

func TestNothingChangesByOtherMethodsAndUnknownPathsAreNotFound(t *testing.T) {
	if code, _ := ask(t, options(), "POST", "/status", ""); code != http.StatusMethodNotAllowed {
		t.Errorf("POST /status: %d", code)
	}
	if code, _ := ask(t, options(), "GET", "/nothing", ""); code != http.StatusNotFound {
		t.Errorf("GET /nothing: %d", code)
	}
}

func TestProbeLearnsWhyTheGatewayIsNotReady(t *testing.T) {
	o := options()
	o.Ready = func() error { return errors.New("draining") }
	if code, body := ask(t, o, "GET", "/readyz", ""); code != http.StatusServiceUnavailable || body != "draining\n" {
		t.Errorf("%d %q", code, body)
	}
}

func TestTokenGuardsMetricsAndStatusAlone(t *testing.T) {
	o := options()
	o.Token = func() string { return "secret" }
	for _, c := range []struct {
		path, authorization string
		want                int
	}{
		{"/metrics", "", 401}, {"/status", "", 401}, {"/status", "Bearer wrong", 401}, {"/status", "secret", 401},
		{"/metrics", "Bearer secret", 200}, {"/status", "Bearer secret", 200}, {"/healthz", "", 200}, {"/readyz", "", 200},
	} {
		if code, body := ask(t, o, "GET", c.path, c.authorization); code != c.want || strings.Contains(body, "secret") {
			t.Errorf("GET %s with %q: %d %q, want %d", c.path, c.authorization, code, body, c.want)
		}
	}
}

func TestReloadAnswersWhyItWasRefused(t *testing.T) {
	o := options()
	if code, body := ask(t, o, "POST", "/reload", ""); code != http.StatusOK || body != "reloaded\n" {
		t.Errorf("%d %q", code, body)
	}
	o.Reload = func() error { return errors.New("gateway.hcl:3: no such word") }
	if code, body := ask(t, o, "POST", "/reload", ""); code != http.StatusUnprocessableEntity || body != "gateway.hcl:3: no such word\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := ask(t, o, "GET", "/reload", ""); code != http.StatusMethodNotAllowed {
		t.Errorf("GET /reload: %d", code)
	}
	o.Token = func() string { return "secret" }
	o.Reload = func() error { t.Error("reloaded without the token"); return nil }
	if code, _ := ask(t, o, "POST", "/reload", ""); code != http.StatusUnauthorized {
		t.Errorf("without the token: %d", code)
	}
}

func TestUpgradeTellsWhatHasHappened(t *testing.T) {
	o := options()
	if code, body := ask(t, o, "POST", "/upgrade", ""); code != http.StatusOK || body != "process 7 serves\n" {
		t.Errorf("answered %d %q", code, body)
	}
	o.Upgrade = func() (string, error) { return "", errors.New("the new process ended") }
	if code, body := ask(t, o, "POST", "/upgrade", ""); code != http.StatusUnprocessableEntity || body != "the new process ended\n" {
		t.Errorf("a refused upgrade was answered %d %q", code, body)
	}
	if code, _ := ask(t, o, "GET", "/upgrade", ""); code != http.StatusMethodNotAllowed {
		t.Errorf("GET /upgrade: %d", code)
	}
}

// TestPageOfAnotherSiteChangesNothing: a browser on the same machine would let any page post to loopback.
func TestPageOfAnotherSiteChangesNothing(t *testing.T) {
	o := options()
	o.Reload = func() error { t.Error("reloaded for another site's page"); return nil }
	r := httptest.NewRequest("POST", "/reload", nil)
	r.Header.Set("Origin", "https://elsewhere.example")
	w := httptest.NewRecorder()
	Handler(o).ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("answered %d", w.Code)
	}
}

// TestRequestThatOwesABodyDoesNotStay has one come, without a token, whose body never does.
func TestRequestThatOwesABodyDoesNotStay(t *testing.T) {
	inMemory(t, options(), func(t *testing.T, connect func() net.Conn) {
		c := connect()
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * bodyTimeout)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if said, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 200 ") {
			t.Errorf("answered %q, %v; want 200 and the end", said, err)
		}
	})
}

// inMemory calls try with a way to connect to an admin server on which time passes as fast as it can.
func inMemory(t *testing.T, o Options, try func(t *testing.T, connect func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		memory := bufconn.Listen(1 << 10)
		server := New(o)
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(memory) }()
		try(t, func() net.Conn {
			c, err := memory.DialContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestOperatorIsAnsweredBesideManySilentConnections: as many as may be there have come before.
func TestOperatorIsAnsweredBesideManySilentConnections(t *testing.T) {
	inMemory(t, options(), func(t *testing.T, connect func() net.Conn) {
		for range connectionsMax {
			defer connect().Close()
		}
		start := time.Now()
		c := connect()
		defer c.Close()
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 200 ") {
			t.Errorf("answered %q, %v", said, err)
		}
		if waited := time.Since(start); waited != readHeaderTimeout {
			t.Errorf("after %v: it had to wait for the silent ones, and for these alone", waited)
		}
	})
}

// TestAnswerThatIsNotTakenEnds has one ask for more than there is room for on the way.
func TestAnswerThatIsNotTakenEnds(t *testing.T) {
	o := options()
	o.Status = func() any { return strings.Repeat("x", 1<<20) }
	inMemory(t, o, func(t *testing.T, connect func() net.Conn) {
		c := connect()
		defer c.Close()
		if _, err := io.WriteString(c, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(answerTimeout + time.Second)
		if said, err := io.ReadAll(c); err != nil || len(said) >= 1<<20 {
			t.Errorf("%d bytes were still to be had, %v", len(said), err)
		}
	})
}

// TestPageLoadsFromNowhereElse: neither its files nor the policy for them name another place.
func TestPageLoadsFromNowhereElse(t *testing.T) {
	o := options()
	o.Token = func() string { return "secret" }
	for path := range pageNames {
		path = strings.TrimSuffix(path, "{$}")
		r := httptest.NewRequest("GET", path, nil)
		w := httptest.NewRecorder()
		Handler(o).ServeHTTP(w, r)
		if policy := w.Header().Get("Content-Security-Policy"); w.Code != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") {
			t.Errorf("GET %s: %d, policy %q", path, w.Code, policy)
		}
		for _, bad := range []string{"https:", "//cdn", "innerHTML =", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Storage"} {
			if strings.Contains(w.Body.String(), bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
	}
}

func TestProfilesAreThereOnlyWhereAskedForAndBehindTheToken(t *testing.T) {
	o := options()
	paths := []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/symbol", "/debug/pprof/trace?seconds=0.01"}
	for _, path := range paths {
		if code, _ := ask(t, o, "GET", path, ""); code != http.StatusNotFound {
			t.Errorf("GET %s without being asked for: %d", path, code)
		}
	}
	on := true
	o.Pprof, o.Token = func() bool { return on }, func() string { return "secret" }
	for _, path := range paths {
		if code, _ := ask(t, o, "GET", path, ""); code != http.StatusUnauthorized {
			t.Errorf("GET %s without the token: %d", path, code)
		}
		if code, body := ask(t, o, "GET", path, "Bearer secret"); code != http.StatusOK || body == "" {
			t.Errorf("GET %s: %d", path, code)
		}
	}
	if code, _ := ask(t, o, "GET", "/debug/pprof/cmdline", "Bearer secret"); code != http.StatusNotFound {
		t.Errorf("the command line: %d", code)
	}
	on = false // by a reload
	if code, _ := ask(t, o, "GET", "/debug/pprof/heap", "Bearer secret"); code != http.StatusNotFound {
		t.Errorf("after a reload that forbids it: %d", code)
	}
}
