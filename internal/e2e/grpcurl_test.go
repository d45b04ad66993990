package e2e

import (
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	grpcreflection "google.golang.org/grpc/reflection"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

// servicesOf starts a server with what register adds until the test ends.
func servicesOf(t *testing.T, register func(*grpc.Server)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// buildGRPCurl builds the grpcurl that conformance/suites pins.
func buildGRPCurl(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "grpcurl")
	build := exec.Command("go", "build", "-C", "conformance/suites", "-o", program, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build grpcurl: %v\n%s", err, out)
	}
	return program
}

// TestGRPCurlNeedsNoFlags has grpcurl list, describe and call what three backends serve: one
// of today, one that knows reflection by its old name alone, and one that knows none.
func TestGRPCurlNeedsNoFlags(t *testing.T) {
	program := buildGRPCurl(t)
	today := servicesOf(t, func(s *grpc.Server) {
		testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
		grpcreflection.Register(s)
	})
	older := servicesOf(t, func(s *grpc.Server) {
		healthpb.RegisterHealthServer(s, grpchealth.NewServer())
		testgrpc.RegisterReconnectServiceServer(s, testgrpc.UnimplementedReconnectServiceServer{})
		reflectv1alpha.RegisterServerReflectionServer(s, grpcreflection.NewServer(grpcreflection.ServerOptions{Services: s}))
	})
	none := servicesOf(t, func(s *grpc.Server) {
		testgrpc.RegisterUnimplementedServiceServer(s, testgrpc.UnimplementedUnimplementedServiceServer{})
	})
	g := startGateway(t, `listen "127.0.0.1:0" {
  name = "public"
}
backend "today" {
  grpc = ["`+today+`"]
}
backend "older" {
  grpc = ["`+older+`"]
}
backend "none" {
  grpc = ["`+none+`"]
}
grpc "/grpc.testing.ReconnectService/*" {
  to "older" {}
}
grpc "/grpc.testing.UnimplementedService/*" {
  to "none" {}
}
grpc "*" {
  to "today" {}
}`)
	grpcurl := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, append([]string{"-plaintext", g.addr("public")}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := grpcurl("list")
	services := strings.Fields(out)
	for _, want := range []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.testing.ReconnectService", "grpc.testing.TestService"} {
		if err != nil || !slices.Contains(services, want) {
			t.Errorf("list: %s is not among %q (%v)", want, services, err)
		}
	}
	for what, want := range map[string]string{
		"grpc.testing.TestService":      "rpc FullDuplexCall ( stream .grpc.testing.StreamingOutputCallRequest )",
		"grpc.testing.ReconnectService": "rpc Start ( .grpc.testing.ReconnectParams )",
		"grpc.testing.SimpleRequest":    "PayloadType response_type = 1",
		"grpc.health.v1.Health":         "rpc Check (",
	} {
		if out, err := grpcurl("describe", what); err != nil || !strings.Contains(out, want) {
			t.Errorf("describe %s: %v\n%s", what, err, out)
		}
	}
	for method, want := range map[string]string{
		"grpc.testing.TestService/EmptyCall":  "{}",
		"grpc.health.v1.Health/Check":         `"status": "SERVING"`,
		"grpc.testing.ReconnectService/Start": "Code: Unimplemented", // by the second backend
	} {
		if out, _ := grpcurl(method); !strings.Contains(out, want) {
			t.Errorf("call %s: got %s, want %s", method, out, want)
		}
	}
}
