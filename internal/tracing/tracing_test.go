package tracing

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// TestSpanOfAnyMethodIsSent has callers name methods as no service does, between two that a service has.
func TestSpanOfAnyMethodIsSent(t *testing.T) {
	names := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		var request collectorv1.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(text, &request) != nil {
			t.Errorf("the collector was sent %d bytes: %v", len(text), err)
		}
		for _, from := range request.ResourceSpans {
			for _, scope := range from.ScopeSpans {
				for _, span := range scope.Spans {
					names <- span.Name
				}
			}
		}
	}))
	defer collector.Close()
	tracer, err := New(Options{Endpoint: collector.URL, Ratio: 1})
	if err != nil {
		t.Fatal(err)
	}
	var s Switch
	s.Set(tracer)
	for _, method := range []string{"/a.B/C", "/a.B/\xff", "/a.B/" + strings.Repeat("\u00fc", 10000), "/a.B/D"} {
		s.Start("grpc", method, "", "").End("*", "b", 1, codes.OK)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tracer.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	close(names)
	var got []string
	for name := range names {
		if !utf8.ValidString(name) || len(name) > 2*methodBytesMax {
			t.Errorf("a name of %d bytes, valid: %v", len(name), utf8.ValidString(name))
		}
		got = append(got, name)
	}
	if len(got) != 4 || got[0] != "a.B/C" || got[1] != "a.B/\uFFFD" || got[3] != "a.B/D" {
		t.Errorf("%d spans were sent: %.100q", len(got), got)
	}
}
