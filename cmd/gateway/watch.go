package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watchSettle is how long after the first sign of a change the file is looked at: editors write in several steps.
const watchSettle = 200 * time.Millisecond

// watch calls changed whenever the file at path may have changed, until stop is closed. It watches the directory: editors and
// Kubernetes put another file in the place of the old one.
func watch(path string, stop <-chan struct{}, log *slog.Logger, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	if err := w.Add(dir); err != nil {
		w.Close()
		return fmt.Errorf("cannot watch %s: %w", dir, err)
	}
	go func() {
		defer w.Close()
		var settled <-chan time.Time // nil: nothing has happened
		for {
			select {
			case <-stop:
				return
			case <-settled:
				settled = nil
				changed()
				continue
			case <-w.Events: // of any file there: a configuration may read others, or be a link to one
			case err := <-w.Errors:
				log.Error("watching the configuration", "error", err) // something may have been missed
			}
			if settled == nil {
				settled = time.After(watchSettle)
			}
		}
	}()
	return nil
}
