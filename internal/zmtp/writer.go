package zmtp

import (
	"context"
	"errors"
	"net"
	"sync"
)

// ErrFull is returned by TrySend when the peer does not keep up.
var ErrFull = errors.New("zmtp: the write buffer is full")

// controlPendingMax bounds the PINGs and PONGs that wait to be written. A peer that does not read gets no more of them;
// whatever it reads later tells it as well that this side lives.
const controlPendingMax = 16

// writer is the one writer of a connection: senders append frames to a buffer, a goroutine writes what has gathered in
// one call and meanwhile lets the next buffer fill.
//
// Rules: bytes are appended under mu, between begin and commit, in whole messages. The goroutine starts with the first
// message and ends with close or with the first failed write. It alone writes to the connection. Memory: bytesMax for
// the buffer that fills, as much for the one being written, more only while a single message is larger; an idle
// connection has none.
type writer struct {
	conn     net.Conn
	bytesMax int

	mu       sync.Mutex
	work     sync.Cond // something is pending, or the end has come
	pending  *writeBuffer
	control  int           // PINGs and PONGs in pending
	busy     bool          // the goroutine holds a buffer
	started  bool          // the goroutine runs
	room     chan struct{} // closed when room was made; nil while nobody waits
	drained  chan struct{} // closed when nothing is pending or busy; nil while nobody waits
	err      error         // why nothing can be sent any more
	finished chan struct{} // closed when the goroutine has ended
}

type writeBuffer struct{ b []byte }

const (
	writeBufferStartBytes   = 4 << 10
	writeBufferKeepBytesMax = 128 << 10
)

var writeBuffers = sync.Pool{New: func() any { return &writeBuffer{make([]byte, 0, writeBufferStartBytes)} }}

func newWriter(conn net.Conn, bytesMax int) *writer {
	w := &writer{conn: conn, bytesMax: bytesMax, finished: make(chan struct{})}
	w.work.L = &w.mu
	return w
}

// begin returns the buffer to append size bytes to, with mu held until commit. While they do not fit it waits, until ctx
// ends, or returns ErrFull. Something larger than the whole buffer fits when the buffer is empty.
func (w *writer) begin(ctx context.Context, size int, wait bool) (*writeBuffer, error) {
	w.mu.Lock()
	for w.err == nil && w.pending != nil && len(w.pending.b)+size > w.bytesMax {
		if !wait {
			w.mu.Unlock()
			return nil, ErrFull
		}
		if w.room == nil {
			w.room = make(chan struct{})
		}
		room := w.room
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		w.mu.Lock()
	}
	if w.err != nil {
		defer w.mu.Unlock()
		return nil, w.err
	}
	return w.buffer(), nil
}

// beginControl is begin for a PING or PONG, which takes no room and never waits. nil means: leave it.
func (w *writer) beginControl() *writeBuffer {
	w.mu.Lock()
	if w.err != nil || w.control >= controlPendingMax {
		w.mu.Unlock()
		return nil
	}
	w.control++
	return w.buffer()
}

func (w *writer) buffer() *writeBuffer {
	if w.pending == nil {
		w.pending = writeBuffers.Get().(*writeBuffer)
	}
	return w.pending
}

// commit ends what begin or beginControl began.
func (w *writer) commit() {
	if !w.started {
		w.started = true
		go w.run()
	}
	w.work.Signal()
	w.mu.Unlock()
}

// run writes what has gathered until close.
func (w *writer) run() {
	defer close(w.finished)
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.pending == nil && w.err == nil {
			w.work.Wait()
		}
		if w.err != nil {
			return
		}
		taken := w.pending
		w.pending, w.control, w.busy = nil, 0, true
		w.wakeSenders()
		w.mu.Unlock()
		_, err := w.conn.Write(taken.b)
		if cap(taken.b) <= writeBufferKeepBytesMax {
			taken.b = taken.b[:0]
			writeBuffers.Put(taken)
		}
		w.mu.Lock()
		w.busy = false
		if err != nil && w.err == nil {
			w.err = err
		}
		w.wakeSenders()
	}
}

// wakeSenders lets those go on who wait for room or, once there is nothing more to write, for all to be written.
func (w *writer) wakeSenders() {
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	if w.drained != nil && (w.err != nil || w.pending == nil && !w.busy) {
		close(w.drained)
		w.drained = nil
	}
}

// flush waits until everything that was committed has been given to the connection.
func (w *writer) flush(ctx context.Context) error {
	for {
		w.mu.Lock()
		if w.err != nil || w.pending == nil && !w.busy {
			defer w.mu.Unlock()
			return w.err
		}
		if w.drained == nil {
			w.drained = make(chan struct{})
		}
		drained := w.drained
		w.mu.Unlock()
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close makes every sender return err, forgets what was not written, and says whether the goroutine runs: its end is
// then told by finished, once the connection is closed too.
func (w *writer) close(err error) (running bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.pending = nil
	w.work.Signal()
	w.wakeSenders()
	return w.started
}
