package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAgentRefusesWhatCannotWork(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	door := []string{"-gateway", "127.0.0.1:5556"}
	for says, args := range map[string][]string{
		"-gateway is missing":   nil,
		"-token-file":           append(door, "-token-file", "/nowhere"),
		"is empty":              append(door, "-token-file", empty),
		"-tls-ca":               append(door, "-tls-ca", "/nowhere"),
		"holds no certificate":  append(door, "-tls-ca", empty),
		"the worker's address":  append(door, "-worker", "nonsense"),
		"a name is made of":     append(door, "-name", "w 1"),
		"did you mean -worker":  append(door, "tcp://127.0.0.1:6000"),
		"write host:port":       {"-gateway", "nonsense"},
		"flag provided but not": {"-what"},
	} {
		var stdout, stderr strings.Builder
		if code := agentCommand(args, &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), says) {
			t.Errorf("%v: exit %d, stderr %q, want it to say %q", args, code, &stderr, says)
		}
	}
}
