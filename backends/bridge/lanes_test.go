package bridge

import (
	"testing"

	"google.golang.org/grpc/codes"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
)

func TestCallsThatWaitForALaneLearnThatTheServiceIsLost(t *testing.T) {
	service, endpoint := bound(t, zmtp.ROUTER)
	b, conn := startBackend(t, BackendOptions{Socket: zmtp.REQ, Endpoints: []string{endpoint}})
	client := demov1.NewGreeterClient(conn)
	const calls = lanesMax + 5
	failed := make(chan error, calls)
	for range calls {
		go func() {
			_, err := client.SayHello(t.Context(), &demov1.HelloRequest{Name: "x"})
			failed <- err
		}()
	}
	for range lanesMax {
		service.recv()
	}
	eventually(t, "all calls wait", func() bool { return b.Status().InFlight == calls })
	service.kill()
	for range calls {
		wantCode(t, <-failed, codes.Unavailable, `backend "service"`)
	}
}
