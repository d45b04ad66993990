package grpcproxy

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// interopCases are grpc-go's own, which end the process with a message when they fail. Each passes directly too.
var interopCases = map[string]func(context.Context, *grpc.ClientConn, testgrpc.TestServiceClient, ...grpc.CallOption){
	"empty_unary": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoEmptyUnaryCall(ctx, c, o...)
	},
	"large_unary": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoLargeUnaryCall(ctx, c, o...)
	},
	"client_streaming": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoClientStreaming(ctx, c, o...)
	},
	"server_streaming": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoServerStreaming(ctx, c, o...)
	},
	"ping_pong": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoPingPong(ctx, c, o...)
	},
	"empty_stream": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoEmptyStream(ctx, c, o...)
	},
	"timeout_on_sleeping_server": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoTimeoutOnSleepingServer(ctx, c, o...)
	},
	"cancel_after_begin": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoCancelAfterBegin(ctx, speechless{c}, o...)
	},
	"cancel_after_first_response": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoCancelAfterFirstResponse(ctx, c, o...)
	},
	"status_code_and_message": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoStatusCodeAndMessage(ctx, c, o...)
	},
	"special_status_message": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoSpecialStatusMessage(ctx, c, o...)
	},
	"custom_metadata": func(ctx context.Context, _ *grpc.ClientConn, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		interop.DoCustomMetadata(ctx, c, o...)
	},
	"unimplemented_method": func(_ context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient, _ ...grpc.CallOption) {
		interop.DoUnimplementedMethod(context.Background(), conn)
	},
	"unimplemented_service": func(ctx context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient, _ ...grpc.CallOption) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
	},
}

// speechless is a client that does not say that it has sent everything: who cancels a call and says so would now and then get
// the answer, when that comes before it looks whether the call is cancelled.
type speechless struct{ testgrpc.TestServiceClient }

func (c speechless) StreamingInputCall(ctx context.Context, o ...grpc.CallOption) (testgrpc.TestService_StreamingInputCallClient, error) {
	stream, err := c.TestServiceClient.StreamingInputCall(ctx, o...)
	return speechlessStream{stream}, err
}

type speechlessStream struct {
	testgrpc.TestService_StreamingInputCallClient
}

func (s speechlessStream) CloseAndRecv() (*testgrpc.StreamingInputCallResponse, error) {
	answer := new(testgrpc.StreamingInputCallResponse)
	err := s.RecvMsg(answer)
	return answer, err
}

// soakSize keeps a soak case short here; the shape is what matters.
const soakSize = 20

func TestInterop(t *testing.T) {
	t.Parallel()
	address := startProxy(t, everything(startInterop(t, listen(t))))
	for name, run := range interopCases {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, address)
			run(testContext(t), conn, testgrpc.NewTestServiceClient(conn))
		})
	}
}

// TestInteropOverTwoConnections runs the cases on two connections at once, on each one after the other.
func TestInteropOverTwoConnections(t *testing.T) {
	t.Parallel()
	address := startProxy(t, everything(startInterop(t, listen(t)), startInterop(t, listen(t))))
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { interopRound(t, connect(t, address)) })
	}
	both.Wait()
}

// interopRound runs all cases. Each ends the process when it fails.
func interopRound(t *testing.T, conn *grpc.ClientConn) {
	for _, run := range interopCases {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		run(ctx, conn, testgrpc.NewTestServiceClient(conn))
		cancel()
	}
}

// TestInteropWhileABackendRestarts has one of two backends finish what it has and start again, as an orderly roll-out does:
// that cuts no call of any kind, so none may fail.
func TestInteropWhileABackendRestarts(t *testing.T) {
	t.Parallel()
	address, stop := restartEvery(t, restartInterval, interop.NewTestServer(), (*grpc.Server).GracefulStop)
	defer stop()
	o := everything(address, startInterop(t, listen(t)))
	o.Routes[0].Retry = Retry{Attempts: 4, Budget: 1}
	proxy := startProxy(t, o)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			conn, rounds := connect(t, proxy, grpc.WithDisableRetry()), 0
			for end := time.Now().Add(restartingFor); time.Now().Before(end); rounds++ {
				interopRound(t, conn)
			}
			t.Logf("figure: %d rounds of %d cases while a backend restarted every %v, none failed", rounds, len(interopCases), restartInterval)
		})
	}
	both.Wait()
}

func TestInteropCompressed(t *testing.T) {
	t.Parallel()
	address := startProxy(t, everything(startInterop(t, listen(t))))
	for name, run := range interopCases {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, address, grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
			run(testContext(t), conn, testgrpc.NewTestServiceClient(conn))
		})
	}
}

// TestInteropORCA needs grpc-go's own server program: only that may report load more often than twice a minute.
func TestInteropORCA(t *testing.T) {
	t.Parallel()
	address := startProxy(t, everything(startInteropProgram(t)))
	conn := connect(t, address,
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`))
	client := testgrpc.NewTestServiceClient(conn)
	interop.DoEmptyUnaryCall(testContext(t), client, grpc.WaitForReady(true))
	t.Run("orca_per_rpc", func(t *testing.T) { interop.DoORCAPerRPCTest(testContext(t), client) })
	t.Run("orca_oob", func(t *testing.T) { interop.DoORCAOOBTest(testContext(t), client) })
}

// startInteropProgram builds and runs google.golang.org/grpc/interop/server, and returns when it listens. The program
// takes its port by number, one that the system gives to nobody who asks for any; where it is taken, it is started again on another.
func startInteropProgram(t *testing.T) (address string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", program, "google.golang.org/grpc/interop/server").CombinedOutput(); err != nil {
		t.Fatalf("build the interop server: %v\n%s", err, out)
	}
	for range 5 {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.N(10000)))
		if runInteropProgram(t, program, address) {
			return address
		}
	}
	t.Fatal("the interop server did not find a free port")
	return ""
}

// runInteropProgram reports whether the program came to listen on address; it is ended with the test.
func runInteropProgram(t *testing.T, program, address string) bool {
	t.Helper()
	_, port, _ := net.SplitHostPort(address)
	server := exec.Command(program, "-port", port)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait() // says that it was killed, or had no port
		close(ended)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-ended
	})
	listens := false
	eventually(t, "the interop server listens or ends", func() bool {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			listens = true
		}
		select {
		case <-ended:
			listens = false
			return true
		default:
			return listens
		}
	})
	return listens
}

func TestInteropSoak(t *testing.T) {
	address := startProxy(t, everything(startInterop(t, listen(t))))
	shared := connect(t, address)
	soak := interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: patience,
		OverallTimeout: patience, ServerAddr: address, NumWorkers: 2, Iterations: soakSize,
	}
	silenceStderr(t)
	t.Run("rpc_soak", func(t *testing.T) {
		soak.ChannelForTest = func() (*grpc.ClientConn, func()) { return shared, func() {} }
		interop.DoSoakTest(testContext(t), soak)
	})
	t.Run("channel_soak", func(t *testing.T) {
		soak.ChannelForTest = func() (*grpc.ClientConn, func()) {
			conn := connect(t, address)
			return conn, func() { _ = conn.Close() }
		}
		interop.DoSoakTest(testContext(t), soak)
	})
}

// silenceStderr keeps the soak's line for each call out of the test's output.
func silenceStderr(t *testing.T) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	kept := os.Stderr
	os.Stderr = null
	t.Cleanup(func() {
		os.Stderr = kept
		_ = null.Close()
	})
}
