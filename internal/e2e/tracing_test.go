//go:build libzmq

package e2e

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	demov1 "gateway/proto/demo/v1"
)

// collector takes spans as OTLP over HTTP.
type collector struct {
	url string

	mu    sync.Mutex
	spans []*tracev1.Span
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		text, err := io.ReadAll(body)
		var request collectorv1.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(text, &request) != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("the collector was sent %d bytes to %s: %v", len(text), r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, from := range request.ResourceSpans {
			for _, scope := range from.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

// span waits for the span of an entry.
func (c *collector) span(t *testing.T, entry string) (found *tracev1.Span) {
	t.Helper()
	eventually(t, patience, "a span of "+entry, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.spans {
			if strings.Contains(attributes(s), "gateway.entry="+entry+" ") {
				found = s
			}
		}
		return found != nil
	})
	return found
}

// attributes are a span's, as a text.
func attributes(s *tracev1.Span) string {
	var all strings.Builder
	for _, a := range s.Attributes {
		if text := a.Value.GetStringValue(); text != "" {
			fmt.Fprintf(&all, "%s=%s ", a.Key, text)
		} else {
			fmt.Fprintf(&all, "%s=%d ", a.Key, a.Value.GetIntValue())
		}
	}
	return all.String()
}

// startTraced is a greeter that tells which traceparent it got.
func startTraced(t *testing.T) (addr string, parents chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	parents = make(chan string, 100)
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		parents <- strings.Join(md.Get("traceparent"), " and ")
		return next(ctx, r)
	}))
	demov1.RegisterGreeterServer(s, namedGreeter{name: "new"})
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String(), parents
}

const tracedConfig = `
backend "new" { grpc = [%q] }
zmq "greet" {
  match { socket_type = ["REQ"] }
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "new" {}
}
grpc "/demo.v1.Greeter/*" {
  to "new" {}
}
`

const (
	traceOfCaller = "0af7651916cd43dd8448eb211c80319c"
	spanOfCaller  = "b7ad6b7169203331"
)

// TestCollectorGetsASpanBetweenCallerAndBackend: for a gRPC call, and for a ZeroMQ message that becomes one.
func TestCollectorGetsASpanBetweenCallerAndBackend(t *testing.T) {
	c := startCollector(t)
	addr, parents := startTraced(t)
	g := startGateway(t, bridgeConfig(tracedConfig+"telemetry { otlp = %q }\n", addr, c.url))
	calls := demov1.NewGreeterClient(callsOf(t, g))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+traceOfCaller+"-"+spanOfCaller+"-01")
	_, err := calls.SayHello(ctx, &demov1.HelloRequest{Name: "x"})
	must(t, err)
	s := c.span(t, "grpc")
	trace, id, parent := hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId)
	if got := <-parents; trace != traceOfCaller || parent != spanOfCaller || got != "00-"+traceOfCaller+"-"+id+"-01" {
		t.Errorf("the span %s of the trace %s has the parent %s; the backend got %s", id, trace, parent, got)
	}
	if all := attributes(s); s.Name != "demo.v1.Greeter/SayHello" || !strings.Contains(all, "gateway.route=/demo.v1.Greeter/* gateway.backend=new gateway.attempts=1") {
		t.Errorf("%s: %s", s.Name, all)
	}
	ask(t, asksAs(t, g), "x")
	s = c.span(t, "engine of zmq greet")
	trace, id = hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId)
	if got := <-parents; len(s.ParentSpanId) != 0 || got != "00-"+trace+"-"+id+"-01" {
		t.Errorf("the span %s of the trace %s; the backend got %s", id, trace, got)
	}
	ctx = metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+traceOfCaller+"-"+spanOfCaller+"-00")
	_, err = calls.SayHello(ctx, &demov1.HelloRequest{Name: "x"})
	must(t, err)
	if got := <-parents; !strings.HasPrefix(got, "00-"+traceOfCaller) || !strings.HasSuffix(got, "-00") {
		t.Errorf("of a call whose caller wants no span, the backend got %s", got)
	}
	eventually(t, patience, "two spans are counted", func() bool { return g.metric(`gateway_spans_total{result="sent"}`) == 2 })
}

func TestCollectorThatIsAwayHoldsUpNoCall(t *testing.T) {
	addr, _ := startTraced(t)
	g := startGateway(t, bridgeConfig(tracedConfig+"telemetry { otlp = \"http://127.0.0.1:1\" }\n", addr))
	calls := demov1.NewGreeterClient(callsOf(t, g))
	for range 50 {
		_, err := calls.SayHello(t.Context(), &demov1.HelloRequest{Name: "x"})
		must(t, err)
	}
	eventually(t, patience, "the spans are counted as lost", func() bool { return g.metric(`gateway_spans_total{result="failed"}`) == 50 })
	g.waitLog("the collector does not take spans", patience)
}

func TestWithoutTelemetryTheTraceparentPassesAsItIs(t *testing.T) {
	addr, parents := startTraced(t)
	g := startGateway(t, bridgeConfig(tracedConfig, addr))
	theirs := "00-" + traceOfCaller + "-" + spanOfCaller + "-01"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", theirs)
	_, err := demov1.NewGreeterClient(callsOf(t, g)).SayHello(ctx, &demov1.HelloRequest{Name: "x"})
	must(t, err)
	if got := <-parents; got != theirs {
		t.Errorf("the backend got %s", got)
	}
}
