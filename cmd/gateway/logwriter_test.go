package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// disk is what a log is written to: it can be full, and it can stall.
type disk struct {
	mu      sync.Mutex
	text    strings.Builder
	free    int           // bytes; -1: enough
	stalled chan struct{} // a write waits for its end; nil: none does
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	stalled := d.stalled
	d.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.free < 0 || len(p) <= d.free {
		d.text.Write(p)
		if d.free >= 0 {
			d.free -= len(p)
		}
		return len(p), nil
	}
	n := d.free
	d.text.Write(p[:n])
	d.free = 0
	return n, syscall.ENOSPC
}

func (d *disk) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *disk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

func logTo(d *disk) (*logWriter, *slog.Logger) {
	w := newLogWriter(d)
	log := newLog(w, "text", slog.LevelInfo)
	w.report.Store(log)
	return w, log
}

func TestLogSaysWhatIsMissingWhenTheDiskHasRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{free: 100}
		w, log := logTo(d)
		defer w.Close()
		for n := range 5 {
			log.Info("line", "n", n)
			synctest.Wait()
			time.Sleep(2 * logRetryWait)
		}
		lost := w.Lost()
		if lost < 3 || lost > 4 { // the first line fits, the second may end within
			t.Errorf("%d lines are lost", lost)
		}
		d.set(func() { d.free = -1 })
		log.Info("line", "n", "after")
		synctest.Wait()
		text := d.String()
		if !strings.Contains(text, "\ntime=") || !strings.Contains(text, "n=after\n") || !strings.Contains(text, fmt.Sprintf("are missing: they could not be written\" lines=%d\n", lost)) {
			t.Errorf("the log is\n%s", text)
		}
	})
}

func TestNobodyWaitsForALogWhoseReaderHasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled := make(chan struct{})
		d := &disk{free: -1, stalled: stalled}
		w, log := logTo(d)
		line := strings.Repeat("x", 1000)
		const lines = 3000
		for range lines { // more than the two buffers hold; none waits, or the test would hang
			log.Info(line)
		}
		if w.Lost() < lines/3 {
			t.Errorf("%d lines are lost of %d", w.Lost(), lines)
		}
		d.set(func() { d.stalled = nil })
		close(stalled)
		synctest.Wait()
		log.Info("goes on")
		w.Close()
		text := d.String()
		if got := int64(strings.Count(text, "msg=x")); got+w.Lost() != lines {
			t.Errorf("%d lines are written and %d lost of %d", got, w.Lost(), lines)
		}
		if !strings.Contains(text, "are missing") || !strings.HasSuffix(text, "msg=\"goes on\"\n") {
			t.Errorf("the log ends with %q", text[max(0, len(text)-300):])
		}
	})
}

func TestLogEndsThoughNobodyReadsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled := make(chan struct{})
		d := &disk{free: -1, stalled: stalled}
		w, log := logTo(d)
		log.Info("never read")
		start := time.Now()
		w.Close()
		if took := time.Since(start); took != logCloseWait {
			t.Errorf("closing took %v", took)
		}
		close(stalled)
	})
}
