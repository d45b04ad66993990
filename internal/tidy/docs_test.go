package tidy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents whose commands must exist.
var documents = []string{"README.md", "CHANGELOG.md", "ARCHITECTURE.md", "docs/MIGRATING.md"}

// TestEveryCommandInTheReadmeExists holds the fenced commands of the documents against the Makefile and the binary.
func TestEveryCommandInTheReadmeExists(t *testing.T) {
	top := root(t)
	makefile, err := os.ReadFile(filepath.Join(top, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command("go", "run", "../../cmd/gateway", "help").CombinedOutput()
	if err != nil {
		t.Fatalf("gateway help: %v\n%s", err, help)
	}
	makeCommand := regexp.MustCompile(`(?m)(?:^|[\x60$ ])make ([a-z][a-z-]*)`)
	gatewayCommand := regexp.MustCompile(`(?m)(?:^\$? ?|\x60|bin/|cmd/)gateway ([a-z]+)`)
	commands := 0
	for _, name := range documents {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Error(err)
			continue
		}
		code := codeOf(string(text))
		for _, m := range makeCommand.FindAllStringSubmatch(code, -1) {
			commands++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: make %s: the Makefile has no such target", name, m[1])
			}
		}
		for _, m := range gatewayCommand.FindAllStringSubmatch(code, -1) {
			commands++
			if !regexp.MustCompile(`(?m)^  ` + m[1] + ` `).Match(help) {
				t.Errorf("%s: gateway %s: the binary has no such subcommand", name, m[1])
			}
		}
	}
	if commands < 5 {
		t.Errorf("only %d commands found in %v: the search is broken", commands, documents)
	}
}

// codeOf is what a Markdown text shows as code, fenced or inline, a line each.
func codeOf(text string) string {
	var b strings.Builder
	fenced := false
	inline := regexp.MustCompile("`[^`]+`")
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced:
			b.WriteString(strings.TrimLeft(line, " "))
		default:
			for _, code := range inline.FindAllString(line, -1) {
				b.WriteString(strings.Trim(code, "`") + "\n")
			}
		}
	}
	return b.String()
}

// TestLinksInDocumentsLead holds relative links against the tree.
func TestLinksInDocumentsLead(t *testing.T) {
	top := root(t)
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	names, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		names = append(names, filepath.Join(top, d))
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", filepath.Base(name), m[1])
			}
		}
	}
}
