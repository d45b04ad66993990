package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gateway/internal/config"
)

const brokenMin = 15

// TestCheckExplainsEveryBrokenFile holds what a person reads against the texts that internal/config expects.
func TestCheckExplainsEveryBrokenFile(t *testing.T) {
	t.Chdir(filepath.Join("..", "..", "internal", "config", "testdata", "broken"))
	looking := checks
	t.Cleanup(func() { checks = looking })
	checks = config.Checks{} // the files name keys and users that nobody has
	files, err := filepath.Glob("*.hcl")
	if err != nil || len(files) < brokenMin {
		t.Fatalf("%d broken files (%v), want at least %d", len(files), err, brokenMin)
	}
	for _, file := range files {
		want, err := os.ReadFile(strings.TrimSuffix(file, ".hcl") + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		code := check([]string{"-config", file}, &stdout, &stderr)
		if code != exitError || stdout.Len() > 0 || stderr.String() != string(want) {
			t.Errorf("%s: exit %d, stdout %q, stderr:\n%s\nwant:\n%s", file, code, stdout.String(), stderr.String(), want)
		}
	}
}

func TestCheckSumsUpTheReferenceFiles(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	for file, want := range map[string]string{
		"gateway.hcl":   "gateway.hcl is right: listens on 127.0.0.1:5555; 1 relay; 1 grpc route; 1 backend; admin on 127.0.0.1:9901\n",
		"demo/full.hcl": "demo/full.hcl is right: listens on 0.0.0.0:5555, 127.0.0.1:5557, /run/gateway/edge.sock; 5 relays; 2 zmq blocks; 3 grpc routes; 1 sockjs block; 3 backends; admin on 127.0.0.1:9901\n",
	} {
		var stdout, stderr bytes.Buffer
		if code := check([]string{"-config", file}, &stdout, &stderr); code != exitOK || stdout.String() != want || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want %q", file, code, stdout.String(), stderr.String(), want)
		}
	}
}

func TestForgottenFlagNameIsPointedOut(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := check([]string{"other.hcl"}, &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), "did you mean -config other.hcl?") {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
}
