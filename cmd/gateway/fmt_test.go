package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	untidy = "log{\nformat=\"text\"\n}\n"
	tidied = "log {\n  format = \"text\"\n}\n"
)

// write puts a file with the content into a directory of the test's own.
func write(t *testing.T, content string, mode os.FileMode) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "gateway.hcl")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestFormattingKeepsLinkAndPermissions(t *testing.T) {
	path := write(t, untidy, 0o640)
	link := filepath.Join(t.TempDir(), "link.hcl")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := format([]string{"-w", "-config", link}, &stdout, &stderr); code != exitOK || stdout.Len() > 0 {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
	if got := read(t, path); got != tidied {
		t.Errorf("the file behind the link holds %q", got)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is a link no more: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the permissions became %v (%v)", info.Mode().Perm(), err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".gateway-fmt-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestFormattingLeavesAFileWithErrorsAlone(t *testing.T) {
	path := write(t, "log{\n", 0o600)
	var stdout, stderr bytes.Buffer
	if code := format([]string{"-w", "-config", path}, &stdout, &stderr); code != exitError || !strings.Contains(stderr.String(), "Unclosed configuration block") {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
	if got := read(t, path); got != "log{\n" {
		t.Errorf("the file became %q", got)
	}
}

func TestTidyFileIsNotTouched(t *testing.T) {
	path := write(t, tidied, 0o600)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	for _, flag := range []string{"-w", "-check"} {
		if code := format([]string{flag, "-config", path}, &stdout, &stderr); code != exitOK || stdout.Len()+stderr.Len() > 0 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", flag, code, stdout.String(), stderr.String())
		}
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a tidy file was replaced (%v)", err)
	}
}

func TestCheckingAndWritingExcludeEachOther(t *testing.T) {
	path := write(t, untidy, 0o600)
	var stdout, stderr bytes.Buffer
	if code := format([]string{"-check", "-w", "-config", path}, &stdout, &stderr); code != exitUsage || read(t, path) != untidy {
		t.Errorf("exit %d, file %q", code, read(t, path))
	}
}
