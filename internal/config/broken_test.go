package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	columns      = 100 // of the expected texts
	brokenMin    = 25
	knownSecrets = "hunter" // what the broken files have for secrets
)

var update = flag.Bool("update", false, "rewrite the expected texts in testdata")

func TestBrokenFilesAreExplainedWordForWord(t *testing.T) {
	t.Chdir(filepath.Join("testdata", "broken"))
	files, err := filepath.Glob("*.hcl")
	if err != nil || len(files) < brokenMin {
		t.Fatalf("%d broken files (%v), want at least %d", len(files), err, brokenMin)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".hcl"), func(t *testing.T) {
			cfg, diags := Load(file)
			if cfg != nil || !diags.HasErrors() {
				t.Errorf("%s was accepted", file)
			}
			compare(t, strings.TrimSuffix(file, ".hcl")+".txt", diags)
		})
	}
}

func TestOddFilesLoadWithAWarning(t *testing.T) {
	t.Chdir(filepath.Join("testdata", "warned"))
	files, err := filepath.Glob("*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files to warn of (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".hcl"), func(t *testing.T) {
			cfg, diags := Load(file)
			if cfg == nil || diags.HasErrors() {
				t.Errorf("%s was refused", file)
			}
			compare(t, strings.TrimSuffix(file, ".hcl")+".txt", diags)
		})
	}
}

func TestExpectedTextsBelongToAFile(t *testing.T) {
	texts, err := filepath.Glob(filepath.Join("testdata", "*", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		if _, err := os.Stat(strings.TrimSuffix(text, ".txt") + ".hcl"); err != nil {
			t.Errorf("%s explains a file that is gone: %v", text, err)
		}
	}
}

// compare holds what a person would read against the expected text.
func compare(t *testing.T, wantFile string, diags Diagnostics) {
	t.Helper()
	var got bytes.Buffer
	if err := diags.Write(&got, columns, false); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.String(), knownSecrets) {
		t.Errorf("the diagnostics tell a secret:\n%s", got.String())
	}
	if *update {
		if err := os.WriteFile(wantFile, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(wantFile)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}
