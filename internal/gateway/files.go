package gateway

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how often files are looked at for a change, at most, and only while clients come.
	lookEvery = time.Second
	// fileBytesMax is more than any certificate with its chain, or any bundle of authorities, has.
	fileBytesMax = 1 << 20
)

// fromFiles is a value that was read from files, and is read again when they have changed. A change that cannot be used,
// a certificate without its new key yet, is logged once and leaves the value as it is.
//
// Rules: get never waits for another's look at the files.
type fromFiles[T any] struct {
	paths []string
	read  func() (T, error)
	log   *slog.Logger

	value  atomic.Pointer[T]
	born   time.Time
	looked atomic.Int64 // nanoseconds after born

	looking sync.Mutex
	stamps  []os.FileInfo // of the files that value was read from
	problem string        // that was logged last
}

// readFiles reads the value for the first time.
func readFiles[T any](log *slog.Logger, read func() (T, error), paths ...string) (*fromFiles[T], error) {
	f := &fromFiles[T]{paths: paths, read: read, log: log.With("files", paths), born: time.Now()}
	stamps, err := stampsOf(paths)
	if err != nil {
		return nil, err
	}
	value, err := read()
	if err != nil {
		return nil, err
	}
	f.stamps = stamps
	f.value.Store(&value)
	return f, nil
}

// get returns the value, from the files as they were a second ago at most.
func (f *fromFiles[T]) get() T {
	now, last := int64(time.Since(f.born)), f.looked.Load()
	if now-last >= int64(lookEvery) && f.looked.CompareAndSwap(last, now) && f.looking.TryLock() {
		f.look()
		f.looking.Unlock()
	}
	return *f.value.Load()
}

// look reads the files again if they have changed.
func (f *fromFiles[T]) look() {
	stamps, err := stampsOf(f.paths)
	if err == nil && same(stamps, f.stamps) {
		f.problem = ""
		return
	}
	var value T
	if err == nil {
		value, err = f.read()
	}
	if err != nil {
		if text := err.Error(); text != f.problem {
			f.problem = text
			f.log.Error("files have changed but cannot be used; what they held before is used on", "error", err)
		}
		return
	}
	f.stamps, f.problem = stamps, ""
	f.value.Store(&value)
	f.log.Info("files have changed and were read again")
}

func stampsOf(paths []string) ([]os.FileInfo, error) {
	stamps := make([]os.FileInfo, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err // it names the file
		}
		if !info.Mode().IsRegular() || info.Size() > fileBytesMax {
			return nil, fmt.Errorf("%s is not a file of %d KiB at most", path, fileBytesMax>>10)
		}
		stamps[i] = info
	}
	return stamps, nil
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}
