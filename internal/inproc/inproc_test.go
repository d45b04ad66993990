package inproc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReaderGetsAllThatWasWrittenAndThenTheEnd(t *testing.T) {
	a, b := Pipe()
	sent := bytes.Repeat([]byte("0123456789"), 3*bufferBytesMax/10) // Write has to wait for Read
	go func() {
		if n, err := a.Write(sent); n != len(sent) || err != nil {
			t.Errorf("wrote %d bytes: %v", n, err)
		}
		a.Close()
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes of %d: %v", len(got), len(sent), err)
	}
	if _, err := b.Write(sent); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to an end that is closed: %v", err)
	}
	if _, err := a.Read(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read from an end that is closed: %v", err)
	}
}

func TestReceiverIsCalledByTheWriterWithWhatCameBeforeToo(t *testing.T) {
	a, b := Pipe()
	if _, err := a.Write([]byte("before ")); err != nil {
		t.Fatal(err)
	}
	var got []byte // the writer's: it is called before Write returns
	over := make(chan struct{})
	b.Receive(func(p []byte) { got = append(got, p...) }, func() { close(over) })
	if _, err := a.Write([]byte("and after")); err != nil {
		t.Fatal(err)
	}
	if string(got) != "before and after" {
		t.Errorf("got %q", got)
	}
	a.Close()
	<-over
}

func TestReceiverLearnsOfAnEndThatCameBefore(t *testing.T) {
	a, b := Pipe()
	a.Close()
	over := make(chan struct{})
	b.Receive(func([]byte) { t.Error("nothing was written") }, func() { close(over) })
	<-over
}

func TestReadGivesUpAtItsDeadline(t *testing.T) {
	_, b := Pipe()
	if err := b.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	b.Close()
}

func TestListenerConnectsWhoDialsIt(t *testing.T) {
	l := Listen()
	dialled := make(chan *Conn, 1)
	go func() {
		c, err := l.Dial(context.Background())
		if err != nil {
			t.Error(err)
		}
		dialled <- c
	}()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (<-dialled).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := accepted.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("read %d: %v", n, err)
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := l.Dial(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
}
