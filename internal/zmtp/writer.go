package zmtp

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// ErrFull is returned by TrySend when the peer does not keep up.
var ErrFull = errors.New("zmtp: the write buffer is full")

// controlPendingMax bounds the PINGs and PONGs that wait to be written. A peer that does not read gets no more of them;
// whatever it reads later tells it as well that this side lives.
const controlPendingMax = 16

// writer is the one writer of a connection: senders append frames to a buffer, a goroutine writes what has gathered in
// one call and meanwhile lets the next buffer fill. Where the peer has said something since the last time, as it does
// when requests and replies take turns, the sender writes itself, without waiting: to wake a goroutine for one message
// takes longer than to write it. Of many messages in one direction the goroutine makes few writes.
//
// Rules: bytes are appended under mu, between begin and commit, in whole messages. Who is told to by commit calls write,
// when it holds no lock that others need. The goroutine starts with the first message that is left to it and ends with
// close or with the first failed write. One writes at a time, who has set busy. Memory: bytesMax for the buffer that
// fills, as much for the one being written, more only while a single message is larger; an idle connection has none.
type writer struct {
	conn     net.Conn
	bytesMax int
	heard    atomic.Bool // the peer has said something since a sender wrote itself

	mu       sync.Mutex
	direct   tryWriter // nil: the connection cannot be written to without waiting
	work     sync.Cond // something is to be written, or the end has come
	pending  *writeBuffer
	rest     *writeBuffer  // what a full connection has not taken of a sender's own write: goes before pending
	control  int           // PINGs and PONGs in pending
	busy     bool          // somebody writes, or is about to
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
	w := &writer{conn: conn, bytesMax: bytesMax, direct: tryWriterOf(conn), finished: make(chan struct{})}
	w.work.L = &w.mu
	w.heard.Store(true)
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

// commit ends what begin or beginControl began, and says whether the sender has to write.
func (w *writer) commit() (write bool) {
	defer w.mu.Unlock()
	if w.direct != nil && !w.busy && w.rest == nil && w.heard.Swap(false) {
		w.busy = true
		return true
	}
	w.leave()
	return false
}

// leave leaves what is to be written to the goroutine. mu is held.
func (w *writer) leave() {
	if !w.started {
		w.started = true
		go w.run()
	}
	w.work.Signal()
}

// write is the sender's own write. It never waits for the peer.
func (w *writer) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if taken := w.take(); taken != nil {
		w.mu.Unlock()
		n, err := w.direct.TryWrite(taken.b)
		w.mu.Lock()
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			w.direct, w.rest = nil, taken
		case err == nil && n < len(taken.b):
			taken.b = taken.b[:copy(taken.b, taken.b[n:])]
			w.rest = taken
		case err != nil && w.err == nil:
			w.err = err
		default:
			taken.recycle()
		}
	}
	w.busy = false
	if w.err == nil && (w.rest != nil || w.pending != nil) {
		w.leave()
	}
	w.wakeSenders()
}

// take returns what is to be written next; nil if nothing is. mu is held.
func (w *writer) take() *writeBuffer {
	taken := w.rest
	if w.rest = nil; taken == nil {
		taken = w.pending
		w.pending, w.control = nil, 0
	}
	return taken
}

func (b *writeBuffer) recycle() {
	if cap(b.b) <= writeBufferKeepBytesMax {
		b.b = b.b[:0]
		writeBuffers.Put(b)
	}
}

// run writes what has gathered until close.
func (w *writer) run() {
	defer close(w.finished)
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.err == nil && (w.busy || w.rest == nil && w.pending == nil) {
			w.work.Wait()
		}
		if w.err != nil {
			return
		}
		taken := w.take()
		w.busy = true
		w.wakeSenders()
		w.mu.Unlock()
		_, err := w.conn.Write(taken.b)
		taken.recycle()
		w.mu.Lock()
		w.busy = false
		if err != nil && w.err == nil {
			w.err = err
		}
		w.wakeSenders()
	}
}

// idle says that there is nothing to write. mu is held.
func (w *writer) idle() bool { return w.pending == nil && w.rest == nil && !w.busy }

// wakeSenders lets those go on who wait for room or, once there is nothing more to write, for all to be written.
func (w *writer) wakeSenders() {
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	if w.drained != nil && (w.err != nil || w.idle()) {
		close(w.drained)
		w.drained = nil
	}
}

// flush waits until everything that was committed has been given to the connection.
func (w *writer) flush(ctx context.Context) error {
	for {
		w.mu.Lock()
		if w.err != nil || w.idle() {
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
	w.pending, w.rest = nil, nil
	w.work.Signal()
	w.wakeSenders()
	return w.started
}
