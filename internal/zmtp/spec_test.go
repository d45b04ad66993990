package zmtp

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestSpecNamesTestsThatExist holds the last columns of SPEC.md against the package: tests and files.
func TestSpecNamesTestsThatExist(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(source, -1) {
			defined[string(m[1])] = true
		}
	}
	names := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z0-9]\w+`).FindAllString(string(spec), -1)
	if len(names) < 50 {
		t.Errorf("SPEC.md names only %d tests", len(names))
	}
	for _, name := range names {
		if !defined[name] {
			t.Errorf("SPEC.md names %s, which does not exist", name)
		}
	}
	for _, m := range regexp.MustCompile(`\b[a-z0-9]+\.go\b`).FindAllString(string(spec), -1) {
		if _, err := os.Stat(m); err != nil {
			t.Errorf("SPEC.md names %s: %v", m, err)
		}
	}
}
