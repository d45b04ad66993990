package main

// Rules of this file.
//
// Whoever logs never waits: a line goes into a buffer, and one goroutine writes what is there, many lines at a time. What the
// buffer cannot take, because a disk is full or a reader has stopped, is dropped and counted; service goes on. As soon as a write
// succeeds again, the log says how many lines are missing and why.
//
// w.pending belongs to the mutex, what take returned to the goroutine until its next take: the two buffers change places.

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	logBufferBytesMax = 1 << 20
	logRetryWait      = 100 * time.Millisecond // after a write that failed
	logCloseWait      = time.Second            // for what is left at the end
)

// logWriter writes a log whose reader may fail. Make one with newLogWriter, and tell it whom to report to.
type logWriter struct {
	out    io.Writer
	report atomic.Pointer[slog.Logger] // says what is missing, through this writer

	mu      sync.Mutex
	pending []byte
	closed  bool

	lost   atomic.Int64  // lines, since the start
	wake   chan struct{} // something is pending, or it is closed
	ending chan struct{} // closed by Close
	ended  chan struct{}
}

func newLogWriter(out io.Writer) *logWriter {
	w := &logWriter{out: out, wake: make(chan struct{}, 1), ending: make(chan struct{}), ended: make(chan struct{})}
	go w.run()
	return w
}

// Write takes one line. It never waits and never fails.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	if len(w.pending)+len(line) > logBufferBytesMax || w.closed {
		w.lost.Add(1)
	} else {
		w.pending = append(w.pending, line...)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
	return len(line), nil
}

// Lost is how many lines are missing since the start.
func (w *logWriter) Lost() int64 { return w.lost.Load() }

// Close writes what is left, if that can be done soon.
func (w *logWriter) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.ending)
	select {
	case <-w.ended:
	case <-time.After(logCloseWait): // whoever reads has stopped
	}
}

func (w *logWriter) run() {
	defer close(w.ended)
	var told int64 // lines whose loss is in the log
	var lines []byte
	broken := false
	for {
		select {
		case <-w.wake:
		case <-w.ending:
		}
		lines = w.take(lines)
		if len(lines) == 0 {
			select {
			case <-w.ending:
				return
			default:
				continue
			}
		}
		var err error
		if broken {
			_, err = w.out.Write([]byte("\n")) // what came before may end within a line
		}
		written := 0
		if err == nil {
			written, err = w.out.Write(lines)
		}
		if broken = err != nil; broken {
			w.lost.Add(int64(bytes.Count(lines[written:], []byte("\n"))))
			w.pause()
			continue
		}
		if lost := w.lost.Load(); lost > told && w.hasRoom() { // or it would be lost itself
			if log := w.report.Load(); log != nil {
				log.Warn("log lines are missing: they could not be written", "lines", lost-told)
			}
			told = lost
		}
	}
}

// take gives what is pending, for the buffer of what was written.
func (w *logWriter) take(written []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.pending
	w.pending = written[:0]
	return lines
}

// hasRoom tells whether the buffer is at most half full.
func (w *logWriter) hasRoom() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) <= logBufferBytesMax/2
}

// pause waits before another try; not at the end.
func (w *logWriter) pause() {
	select {
	case <-time.After(logRetryWait):
	case <-w.ending:
	}
}
