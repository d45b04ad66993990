package config

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse holds that no bytes make Parse panic, that what it accepts is usable, and that formatting changes nothing
// but white space: the formatted file is accepted or refused as the original was.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"../../gateway.hcl", "../../demo/full.hcl", "testdata/*/*.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds at %s (%v)", pattern, err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		cfg, diags := Parse("fuzz.hcl", src)
		if (cfg == nil) != diags.HasErrors() {
			t.Fatalf("a configuration and errors, or neither: %v", diags)
		}
		if err := diags.Write(io.Discard, columns, true); err != nil {
			t.Fatal(err)
		}
		if cfg != nil && (len(cfg.Listeners) == 0 || cfg.DrainTimeout <= 0) {
			t.Fatalf("accepted, but not to be served: %+v", cfg)
		}
		tidy, diags := Format("fuzz.hcl", src)
		if diags.HasErrors() {
			return
		}
		if again, _ := Parse("fuzz.hcl", tidy); (again == nil) != (cfg == nil) {
			t.Fatalf("formatting changed the meaning of\n%s\nto\n%s", src, tidy)
		}
	})
}

// TestNestingWithoutEndIsRefusedBeforeItIsParsed: what the parser recursed into could overflow the stack, and nothing
// recovers from that.
func TestNestingWithoutEndIsRefusedBeforeItIsParsed(t *testing.T) {
	const levels = 2 * operatorsMax
	for _, open := range []string{"[", "(", "{a=", "!", "-", "a?b:", "1+", "1<", "\"${", "%{if true}", "a{\n", "f(", "[for x in [1]: ", "a[", "<<A\n${"} {
		for _, start := range []string{"", "drain_timeout = "} {
			_, diags := Parse("deep.hcl", []byte(start+strings.Repeat(open, levels)))
			if len(diags.Diagnostics) != 1 || diags.Diagnostics[0].Summary != nestedTooDeep {
				t.Errorf("%s%s... without end is answered with: %v", start, open, diags)
			}
		}
	}
	if _, diags := Parse("deep.hcl", []byte(strings.Repeat("[", fileBytesMax))); !diags.HasErrors() {
		t.Error("a file full of brackets was accepted")
	}
}

func TestOnlyTheFirstOfManyProblemsArePrinted(t *testing.T) {
	var out strings.Builder
	_, diags := Parse("many.hcl", []byte(strings.Repeat("unknown {}\n", shownMax+5)))
	if err := diags.Write(&out, 0, false); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "Error: "); got != shownMax || !strings.HasSuffix(out.String(), "more.\n") {
		t.Errorf("%d errors were printed, want %d and the number of the others:\n%s", got, shownMax, out.String())
	}
}

func TestFormattingTidiesWhiteSpaceAlone(t *testing.T) {
	tidy, diags := Format("x.hcl", []byte("log{\nformat=\"text\" # why\n  level = \"info\"\n}\n"))
	want := "log {\n  format = \"text\" # why\n  level  = \"info\"\n}\n"
	if diags.HasErrors() || string(tidy) != want {
		t.Errorf("got %q (%v), want %q", tidy, diags, want)
	}
	if tidy, diags := Format("x.hcl", []byte("log {")); tidy != nil || !diags.HasErrors() {
		t.Errorf("a file with a syntax error was formatted to %q", tidy)
	}
	for _, file := range []string{"../../gateway.hcl", "../../demo/full.hcl"} {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if tidy, _ := Format(file, src); string(tidy) != string(src) {
			t.Errorf("%s is not tidy", file)
		}
	}
}
