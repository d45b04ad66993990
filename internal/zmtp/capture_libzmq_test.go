//go:build libzmq

package zmtp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// The captures in testdata are what two libzmq sockets say to each other; fuzzing starts from them. To take them again:
//
//	ZMTP_CAPTURE=1 go test -tags libzmq -run TestCapturesAreWhatLibzmqSays ./internal/zmtp

// capture lets a libzmq client talk to a libzmq server and returns what each said, up to the end of talk.
func capture(t *testing.T, server, client *zmq.Socket, talk func()) (fromClient, fromServer []byte) {
	t.Helper()
	if err := server.Bind("tcp://127.0.0.1:*"); err != nil {
		t.Fatal(err)
	}
	endpoint, err := server.GetLastEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	toClient := acceptLibzmq(t, client)
	toServer, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	var recorded [2]bytes.Buffer
	var copies sync.WaitGroup
	copies.Go(func() { _, _ = io.Copy(io.MultiWriter(toServer, &recorded[0]), toClient) })
	copies.Go(func() { _, _ = io.Copy(io.MultiWriter(toClient, &recorded[1]), toServer) })
	talk()
	toClient.Close()
	toServer.Close()
	copies.Wait()
	return recorded[0].Bytes(), recorded[1].Bytes()
}

func TestCapturesAreWhatLibzmqSays(t *testing.T) {
	securities := allSecurities(t)
	curveClient, curveServer := manKeys(t)
	for name, s := range map[string][2]Security{
		"null": securities["NULL"], "plain": securities["PLAIN"], "curve": {curveClient, curveServer},
	} {
		router := libzmqSocket(t, zmq.ROUTER, nil, s[1])
		dealer := libzmqSocket(t, zmq.DEALER, nil, s[0])
		if err := errors.Join(dealer.SetIdentity("dealer"), dealer.SetHeartbeatIvl(30*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		fromClient, fromServer := capture(t, router, dealer, func() {
			if _, err := dealer.SendMessage("hello", "", strings.Repeat("long ", 60)); err != nil {
				t.Fatal(err)
			}
			m, err := router.RecvMessage(0)
			if err == nil {
				_, err = router.SendMessage(m)
			}
			if err == nil {
				_, err = dealer.RecvMessage(0)
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // for PINGs of libzmq, at their own pace
		})
		compareCapture(t, name+"-client", fromClient)
		compareCapture(t, name+"-server", fromServer)

		pub, sub := libzmqSocket(t, zmq.XPUB, nil, s[1]), libzmqSocket(t, zmq.SUB, nil, s[0])
		fromClient, _ = capture(t, pub, sub, func() {
			if err := errors.Join(sub.SetSubscribe("news"), sub.SetSubscribe("old"), sub.SetUnsubscribe("old")); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := pub.Recv(0); err != nil {
					t.Fatal(err)
				}
			}
		})
		compareCapture(t, name+"-subscriber", fromClient)
	}
}

// compareCapture holds the file against libzmq: the handshake has the same shape. Keys and nonces are random, and how
// many PINGs fit is chance.
func compareCapture(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join(captureFolder, name+".bin")
	if os.Getenv("ZMTP_CAPTURE") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:GreetingBytes], want[:GreetingBytes]) {
		t.Errorf("%s: the greeting is % x, captured % x", name, got[:GreetingBytes], want[:GreetingBytes])
	}
	gotFrames, wantFrames := splitFrames(t, got[GreetingBytes:]), splitFrames(t, want[GreetingBytes:])
	for i := range 3 {
		if i >= len(gotFrames) || i >= len(wantFrames) || gotFrames[i].header != wantFrames[i].header {
			t.Errorf("%s: frame %d differs from the capture", name, i)
		}
	}
}
