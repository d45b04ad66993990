package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// TestHTTPClientThatOwesABodyDoesNotStay has requests come whose body never does, for paths that nobody reads one for.
func TestHTTPClientThatOwesABodyDoesNotStay(t *testing.T) {
	served := &Table{HTTP: []HTTPRoute{{Prefix: "/served", Handler: http.NotFoundHandler()}}}
	for _, head := range []string{
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500",
		"GET /served HTTP/1.1\r\nHost: x\r\nContent-Length: 500",
		"POST /served HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked",
	} {
		synctest.Test(t, func(t *testing.T) {
			memory := bufconn.Listen(1 << 16)
			server := newHTTPServer(func() *Table { return served }, slog.New(slog.DiscardHandler))
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(memory) }()
			c, err := memory.DialContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(2 * httpBodyTimeout)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, head+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if said, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 404 ") {
				t.Errorf("%q: answered %q, %v; want 404 and the end", head, said, err)
			}
			c.Close()
			if err := server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
