package gateway

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFileThatChangesIsReadAgain changes it as people and programs do: in place, by rename, by a link to another directory
// (Kubernetes), and in a way that is of no use.
func TestFileThatChangesIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("file", "one")
		reads := 0
		var log bytes.Buffer
		f, err := readFiles(slog.New(slog.NewTextHandler(&log, nil)), func() (string, error) {
			reads++
			text, err := os.ReadFile(path)
			if err == nil && len(text) == 0 {
				err = errors.New("it is empty")
			}
			return string(text), err
		}, path)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want string, wantReads int) {
			t.Helper()
			time.Sleep(lookEvery)
			for range 10 {
				if got := f.get(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if reads != wantReads {
				t.Errorf("read %d times, want %d", reads, wantReads)
			}
		}
		expect("one", 1)
		write("file", "twofold")
		if f.get() != "one" {
			t.Error("looked at twice in a second")
		}
		expect("twofold", 2)
		write("other", "third")
		os.Rename(filepath.Join(dir, "other"), path)
		expect("third", 3)
		write("file", "")
		expect("third", 4)
		expect("third", 5)
		os.Remove(path)
		expect("third", 5)
		if n := strings.Count(log.String(), "cannot be used"); n != 2 {
			t.Errorf("%d complaints about an empty and a missing file: %s", n, log.String())
		}
		write("linked", "fourth")
		os.Symlink("linked", path)
		expect("fourth", 6)
		if n := strings.Count(log.String(), "were read again"); n != 3 {
			t.Errorf("%d lines about what was read: %s", n, log.String())
		}
	})
}

func TestDeviceIsNoCertificate(t *testing.T) {
	read := func() (string, error) { panic("it was read") }
	for _, path := range []string{"/dev/zero", t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := readFiles(slog.Default(), read, path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
