package pair

import (
	"errors"
	"net"
	"os"
	"time"
)

// longAgo, as a deadline, wakes a pending read.
var longAgo = time.Unix(1, 0)

// firstRead is the space for what a waiting peer sends; most send no more than a greeting.
const firstRead = 128

// tap reads a connection whose partner has not come: it keeps what the peer sends, up to keptBytesMax, and notices its end.
//
// Rules: open and close alternate, and whoever calls close does so after open has returned. Between them the tap's
// goroutine alone reads the connection. kept may be used while the tap is not open.
type tap struct {
	conn    net.Conn
	kept    []byte
	err     error         // why reading ended; nil while the peer is there
	stopped chan struct{} // closed when the goroutine reads no more; nil while the tap is not open
}

// open starts to read. gone is called, on a goroutine of its own, when the peer has ended its side or the connection is broken;
// it is not called any more once close has returned, unless it was on its way by then.
func (t *tap) open(gone func()) {
	stopped := make(chan struct{})
	t.stopped = stopped
	go func() {
		left := t.read()
		close(stopped)
		if left {
			gone()
		}
	}()
}

// read returns when the peer has left (true), when it was interrupted, or when it has read as much as it may.
func (t *tap) read() (left bool) {
	for len(t.kept) < keptBytesMax {
		if len(t.kept) == cap(t.kept) {
			t.kept = append(make([]byte, 0, min(2*cap(t.kept)+firstRead, keptBytesMax)), t.kept...)
		}
		n, err := t.conn.Read(t.kept[len(t.kept):cap(t.kept)])
		t.kept = t.kept[:len(t.kept)+n]
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		t.err = err
		return true
	}
	return false
}

// close stops reading, leaves no deadline behind, and tells why the peer is gone, if it is. It may be called when the tap is
// not open.
func (t *tap) close() error {
	if t.stopped != nil {
		_ = t.conn.SetReadDeadline(longAgo) // fails on a connection that is closed, which the read meets too
		<-t.stopped
		t.stopped = nil
		_ = t.conn.SetReadDeadline(time.Time{})
	}
	return t.err
}

// take gives what was kept, and keeps it no longer.
func (t *tap) take() []byte {
	kept := t.kept
	t.kept = nil
	return kept
}
