package grpcproxy

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	grpcreflection "google.golang.org/grpc/reflection"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
)

// startReflecting serves a service with reflection, of one version alone where register says so.
func startReflecting(t *testing.T, s service, register func(*grpc.Server)) (address string) {
	t.Helper()
	l := listen(t)
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, s)
	register(server)
	serve(t, server, l)
	return l.Addr().String()
}

func TestGatewayAnswersHealthForItselfAndItsBackends(t *testing.T) {
	own := grpchealth.NewServer()
	own.SetServingStatus("asked.Service", healthpb.HealthCheckResponse_NOT_SERVING)
	good := startReflecting(t, named("good"), func(s *grpc.Server) { healthpb.RegisterHealthServer(s, own) })
	o := Options{
		OwnServices: true,
		Routes: []Route{
			{Pattern: "/lost.Service/*", To: []Weighted{{Backend: "lost"}}},
			{Pattern: "/method.Service/Call", To: []Weighted{{Backend: "good"}}},
			{Pattern: "*", To: []Weighted{{Backend: "good"}}},
		},
		Backends: []Backend{{Name: "good", Targets: []string{good}}, {Name: "lost", Targets: []string{nobody(t)}}},
	}
	client := healthpb.NewHealthClient(connect(t, startProxy(t, o)))
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"":               healthpb.HealthCheckResponse_SERVING,
		"good":           healthpb.HealthCheckResponse_SERVING,
		"lost":           healthpb.HealthCheckResponse_NOT_SERVING,
		"lost.Service":   healthpb.HealthCheckResponse_NOT_SERVING,
		"method.Service": healthpb.HealthCheckResponse_SERVING,
		"asked.Service":  healthpb.HealthCheckResponse_NOT_SERVING,
	} {
		eventually(t, fmt.Sprintf("%q is %v", service, want), func() bool { // who cannot be reached within reachWait is not serving
			r, err := client.Check(testContext(t), &healthpb.HealthCheckRequest{Service: service})
			return err == nil && r.Status == want
		})
	}
	if _, err := client.Check(testContext(t), &healthpb.HealthCheckRequest{Service: "nobody.Knows"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
	watch, err := client.Watch(testContext(t), &healthpb.HealthCheckRequest{Service: "lost"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("watch: %v %v", r, err)
	}
}

func TestRouteThatNamesHealthGetsItsCalls(t *testing.T) {
	o := everything(startReflecting(t, named("b"), func(s *grpc.Server) { healthpb.RegisterHealthServer(s, grpchealth.NewServer()) }))
	o.OwnServices = true
	o.Routes = append(o.Routes, Route{Pattern: "/grpc.health.v1.Health/*", To: o.Routes[0].To})
	_, err := healthpb.NewHealthClient(connect(t, startProxy(t, o))).Check(testContext(t), &healthpb.HealthCheckRequest{Service: "b"})
	if status.Code(err) != codes.NotFound { // the backend's own health server knows no "b"
		t.Errorf("got %v", err)
	}
}

// reflected asks the questions of grpcurl: what services there are, and the file of one.
func reflected(t *testing.T, conn *grpc.ClientConn, method string, symbol string) (services []string, files int) {
	t.Helper()
	stream, err := conn.NewStream(testContext(t), &reflectv1.ServerReflection_ServiceDesc.Streams[0], method)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(q *question) *answer {
		a := new(answer)
		if err := stream.SendMsg(q); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, s := range ask(&question{MessageRequest: &reflectv1.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		services = append(services, s.Name)
	}
	a := ask(&question{MessageRequest: &reflectv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
	return services, len(a.GetFileDescriptorResponse().GetFileDescriptorProto())
}

func TestReflectionOfAllBackendsIsOne(t *testing.T) {
	t.Parallel()
	older := startReflecting(t, named("older"), func(s *grpc.Server) { grpcreflection.Register(s) })
	newer := startReflecting(t, named("newer"), func(s *grpc.Server) {
		healthpb.RegisterHealthServer(s, grpchealth.NewServer())
		testgrpc.RegisterReconnectServiceServer(s, testgrpc.UnimplementedReconnectServiceServer{})
		reflectv1alpha.RegisterServerReflectionServer(s, grpcreflection.NewServer(grpcreflection.ServerOptions{Services: s}))
	})
	o := Options{
		OwnServices: true,
		Routes: []Route{
			{Pattern: "*", To: []Weighted{{Backend: "none"}, {Backend: "older"}, {Backend: "newer"}}},
		},
		Backends: []Backend{
			{Name: "none", Targets: []string{startService(t, named("without reflection"))}},
			{Name: "older", Targets: []string{older}}, {Name: "newer", Targets: []string{newer}},
		},
	}
	conn := connect(t, startProxy(t, o))
	for _, method := range []string{
		reflectv1.ServerReflection_ServerReflectionInfo_FullMethodName, reflectv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName,
	} {
		for _, symbol := range []string{"grpc.testing.TestService", "grpc.testing.ReconnectService", "grpc.health.v1.Health"} {
			eventually(t, method+" tells of "+symbol, func() bool { // who does not answer within reflectWait is left out
				services, files := reflected(t, conn, method, symbol)
				if !slices.IsSorted(services) {
					t.Errorf("%s: %v is not sorted", method, services)
				}
				return slices.Contains(services, symbol) && files > 0
			})
		}
		if _, files := reflected(t, conn, method, "nobody.Knows"); files != 0 {
			t.Errorf("%s: a file of what nobody knows", method)
		}
	}
}
