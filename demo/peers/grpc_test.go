package peers

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"gateway/internal/freeport"
	demov1 "gateway/proto/demo/v1"
)

func TestEveryCallIsAnswered(t *testing.T) {
	for name, stream := range map[string]bool{"a call each": false, "one stream": true} {
		t.Run(name, func(t *testing.T) {
			const calls = 50
			d := newDiary()
			at, _ := serving(t, Serve, "127.0.0.1:0", "greeter", d.report)
			c := Client{Name: "client", Connect: at, Every: fast, Count: calls, Stream: stream}
			if err := Call(t.Context(), c, d.report); err != nil {
				t.Fatal(err)
			}
			for _, kind := range []Kind{Sent, Received, Answered} {
				if n := d.of(is(kind)); n != calls {
					t.Errorf("%s: %d of %d", kind, n, calls)
				}
			}
			events, _ := d.all()
			if last := events[len(events)-1]; last.Text != "Hello, client! (served by greeter)" || last.Seq != calls {
				t.Errorf("the last event is %v", last)
			}
		})
	}
}

func TestStoppedClientHasItsAnswers(t *testing.T) {
	for name, stream := range map[string]bool{"a call each": false, "one stream": true} {
		t.Run(name, func(t *testing.T) {
			d := newDiary()
			at, _ := serving(t, Serve, "127.0.0.1:0", "greeter", d.report)
			stop := running(Call, Client{Connect: at, Every: fast, Stream: stream}, d.report)
			d.await(t, 10, "answered", is(Answered))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if sent, answered := d.of(is(Sent)), d.of(is(Answered)); sent != answered {
				t.Errorf("%d calls, %d answers", sent, answered)
			}
		})
	}
}

func TestClientOutlivesARestartOfTheServer(t *testing.T) {
	for name, stream := range map[string]bool{"a call each": false, "one stream": true} {
		t.Run(name, func(t *testing.T) {
			before, after, client := newDiary(), newDiary(), newDiary()
			at, stopServer := serving(t, Serve, freeport.Keep(t), "first", before.report)
			stop := running(Call, Client{Connect: at, Every: fast, Stream: stream}, client.report)
			defer stop()
			client.await(t, 3, "answered", is(Answered))
			stopServer()
			serving(t, Serve, at, "second", after.report)
			after.await(t, 3, "received", is(Received))
			if err := stop(); err != nil {
				t.Error(err)
			}
			if sent, answered := client.of(is(Sent)), client.of(is(Answered)); sent != answered {
				t.Errorf("%d calls, %d answers", sent, answered)
			}
		})
	}
}

func TestCallToNobodySaysWhereAndWhy(t *testing.T) {
	address := refusing(t)
	err := Call(t.Context(), Client{Connect: address, Wait: soon}, newDiary().report)
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), address) {
		t.Errorf("the error is: %v", err)
	}
}

func TestCallToAServerThatHangsUpSaysSo(t *testing.T) {
	err := Call(t.Context(), Client{Connect: closing(t), Wait: soon}, newDiary().report)
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, errNotHTTP2) {
		t.Errorf("the error is: %v", err)
	}
}

func TestCallThatIsStoppedBeforeItMetAnybodyEndsInPeace(t *testing.T) {
	stop := running(Call, Client{Connect: refusing(t)}, newDiary().report)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestCallThatCannotSucceedIsNotRepeated(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer() // without a Greeter
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	defer func() {
		server.Stop()
		<-ended
	}()
	err = Call(t.Context(), Client{Connect: l.Addr().String()}, newDiary().report)
	if status.Code(err) != codes.Unimplemented || !errors.Is(err, errPermanent) {
		t.Errorf("the error is: %v", err)
	}
}

func TestGreeterAnswersEveryKindOfCall(t *testing.T) {
	at, _ := serving(t, Serve, "127.0.0.1:0", "greeter", newDiary().report)
	conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), eventWait)
	defer cancel()
	greeter := demov1.NewGreeterClient(conn)

	one, err := greeter.SayHello(ctx, &demov1.HelloRequest{Name: "Ada"})
	if err != nil || one.GetMessage() != "Hello, Ada!" || one.GetServedBy() != "greeter" {
		t.Errorf("SayHello: %v, %v", one, err)
	}

	down, err := greeter.SayHelloServerStream(ctx, &demov1.HelloRequest{Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	replies := 0
	for {
		if _, err = down.Recv(); err != nil {
			break
		}
		replies++
	}
	if replies != serverStreamReplies || !errors.Is(err, io.EOF) {
		t.Errorf("SayHelloServerStream: %d replies, %v", replies, err)
	}

	up, err := greeter.SayHelloClientStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Ada", "Grace"} {
		if err := up.Send(&demov1.HelloRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := up.CloseAndRecv(); err != nil || all.GetMessage() != "Hello, Ada, Grace!" {
		t.Errorf("SayHelloClientStream: %v, %v", all, err)
	}

	checked, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: "demo.v1.Greeter"})
	if err != nil || checked.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", checked, err)
	}
}
