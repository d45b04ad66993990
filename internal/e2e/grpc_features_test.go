//go:build libzmq

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/stats"
)

// connections counts a client's.
type connections struct{ begun atomic.Int64 }

func (*connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*connections) HandleRPC(context.Context, stats.RPCStats)                         {}
func (*connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		c.begun.Add(1)
	}
}

// callRules is a configuration with one route, to one backend or the other.
func callRules(backend, first, second string) string {
	return `listen "127.0.0.1:0" {
  name = "public"
}
backend "first" {
  grpc = ["` + first + `"]
}
backend "second" {
  grpc = ["` + second + `"]
}
grpc "/grpc.testing.TestService/*" {
  timeout = "20s"
  retry {
    attempts = 3
  }
  mirror "first" {
    compare = "bytes"
    samples = 3
  }
  to "` + backend + `" {}
}
admin {
  listen = "127.0.0.1:0"
}
`
}

// TestReloadChangesRoutesOfLiveConnections holds that calls on one connection, which stays, follow a reload, and none fails.
func TestReloadChangesRoutesOfLiveConnections(t *testing.T) {
	first, second := grpcServer(t), grpcServer(t)
	g := startGateway(t, callRules("first", first, second))
	var counted connections
	conn, err := grpc.NewClient("passthrough:///"+g.addr("public"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(), grpc.WithStatsHandler(&counted))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	stop := make(chan struct{})
	var calls atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				_, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{ResponseSize: 100})
				cancel()
				if err != nil {
					t.Errorf("call %d: %v", calls.Load(), err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := range callReloads {
		backend := []string{"second", "first"}[i%2]
		g.replace(callRules(backend, first, second))
		if code, body := g.post("/reload"); code != http.StatusOK {
			t.Fatalf("reload %d was answered %d %s", i, code, body)
		}
		before := callsStarted(g, backend)
		eventually(t, patience, "calls go to "+backend, func() bool { return callsStarted(g, backend) > before+10 })
	}
	close(stop)
	callers.Wait()
	if n := counted.begun.Load(); n != 1 {
		t.Errorf("the client needed %d connections", n)
	}
	eventually(t, patience, "copies of the calls are compared", func() bool {
		return g.metric(`gateway_grpc_mirrored_total{backend="first",grpc_method="*",grpc_service="grpc.testing.TestService",result="match"}`) > 0
	})
	if n := g.metric(`grpc_server_handled_total{grpc_code="OK",grpc_method="*",grpc_service="grpc.testing.TestService"}`); n < float64(calls.Load()) {
		t.Errorf("%v calls were counted, %d were made", n, calls.Load())
	}
	if status := g.get("/status"); !strings.Contains(status, `"mirrors"`) || !strings.Contains(status, `"matches"`) {
		t.Errorf("/status says nothing of mirrors:\n%s", status)
	}
	t.Logf("figure: %d reloads under %d calls of one connection, none failed", callReloads, calls.Load())
}

// callsStarted is how many calls a backend has got, from /status.
func callsStarted(g *gatewayProcess, backend string) (n int64) {
	g.t.Helper()
	var s struct {
		GRPC struct {
			Backends []struct {
				Name    string
				Started int64
			}
		}
	}
	if err := json.Unmarshal([]byte(g.get("/status")), &s); err != nil {
		g.t.Fatal(err)
	}
	for _, b := range s.GRPC.Backends {
		if b.Name == backend {
			n = b.Started
		}
	}
	return n
}

// callReloads is how often the routes change.
const callReloads = 10

func TestGatewayAnswersHealthAndReflection(t *testing.T) {
	g := startGateway(t, callRules("first", grpcServer(t), "127.0.0.1:1"))
	conn, err := grpc.NewClient("passthrough:///"+g.addr("public"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"": healthpb.HealthCheckResponse_SERVING, "first": healthpb.HealthCheckResponse_SERVING,
		"grpc.testing.TestService": healthpb.HealthCheckResponse_SERVING,
	} {
		eventually(t, patience, fmt.Sprintf("%q is %v", service, want), func() bool { // it is not where a connection takes a second
			r, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
			return err == nil && r.Status == want
		})
	}
	stream, err := reflectv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectv1.ServerReflectionRequest{MessageRequest: &reflectv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil || len(r.GetListServicesResponse().GetService()) < 2 {
		t.Errorf("reflection: %v %v", r, err)
	}
}
