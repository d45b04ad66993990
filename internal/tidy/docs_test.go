package tidy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documentsOf are all documents for people.
func documentsOf(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root(t), "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	all := []string{"README.md", "CHANGELOG.md", "ARCHITECTURE.md"}
	for _, page := range pages {
		all = append(all, filepath.Join("docs", filepath.Base(page)))
	}
	return all
}

// gatewayBinary builds the gateway.
func gatewayBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/gateway").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestEveryCommandInTheDocumentsExists holds what documents show as code against the Makefile and the binary: targets,
// subcommands and their flags.
func TestEveryCommandInTheDocumentsExists(t *testing.T) {
	top, binary := root(t), gatewayBinary(t)
	makefile, err := os.ReadFile(filepath.Join(top, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	helps := map[string]string{}
	help := func(args ...string) string {
		if helps[args[0]] == "" {
			out, _ := exec.Command(binary, args...).CombinedOutput() // some have no help, and say so
			helps[args[0]] = string(out)
		}
		return helps[args[0]]
	}
	makeCommand := regexp.MustCompile(`(?m)(?:^|[\x60$ ])make ([a-z][a-z-]*)`)
	gatewayCommand := regexp.MustCompile(`(?m)(?:^\$? ?|\x60|bin/|cmd/)gateway ([a-z]+)\b([^\n#|]*)`)
	flag := regexp.MustCompile(`\s--?([a-z][a-z-]*)`)
	commands, flags := 0, 0
	for _, name := range documentsOf(t) {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
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
			if !strings.Contains(help("help"), "\n  "+m[1]+" ") {
				t.Errorf("%s: gateway %s: the binary has no such subcommand", name, m[1])
				continue
			}
			for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
				flags++
				if !regexp.MustCompile(`(?m)^\s+(-\w, )?--?` + f[1] + `\b`).MatchString(help(m[1], "-h")) {
					t.Errorf("%s: gateway %s has no flag -%s", name, m[1], f[1])
				}
			}
		}
	}
	if commands < 30 || flags < 15 {
		t.Errorf("only %d commands with %d flags found: the search is broken", commands, flags)
	}
}

// TestConfigurationsInDocumentsAreRight has `gateway check` read each that stands whole in a document, with a listener where
// it leaves that out. Those of docs/MIGRATING.md are held by the demonstration that plays them.
func TestConfigurationsInDocumentsAreRight(t *testing.T) {
	top, binary := root(t), gatewayBinary(t)
	t.Setenv("AGENT_TOKEN", "for-the-test")
	fenced := regexp.MustCompile("(?s)```hcl\n(.*?)```")
	read := 0
	for _, name := range []string{"README.md", "docs/OPERATING.md", "docs/METRICS.md"} {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
			read++
			config := m[1]
			if !strings.Contains(config, "\nlisten ") && !strings.HasPrefix(config, "listen ") {
				config = "listen \"127.0.0.1:5555\" {}\n" + config
			}
			path := filepath.Join(t.TempDir(), "gateway.hcl")
			if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(binary, "check", "-config", path).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	}
	if read < 3 {
		t.Errorf("only %d configurations found: the search is broken", read)
	}
}

// TestLogLinesInTheOperatorsPageExist holds what docs/OPERATING.md says that the log says, and the values of labels, against
// the texts in the code; a test in internal/metrics holds the names of metrics.
func TestLogLinesInTheOperatorsPageExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "OPERATING.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := stringsOf(t)
	known["Unavailable"] = true // a status, by google.golang.org/grpc
	code := regexp.MustCompile("`([^`]+)`")
	value := regexp.MustCompile(`\{[a-z_]+="([^"]+)"\}`)
	var told []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 {
			continue
		}
		for _, m := range value.FindAllStringSubmatch(cells[3], -1) {
			told = append(told, m[1])
		}
		for _, m := range code.FindAllStringSubmatch(cells[4], -1) {
			told = append(told, m[1])
		}
	}
	for _, m := range regexp.MustCompile("log\\s+says\\s+`([^`]+)`").FindAllStringSubmatch(string(text), -1) {
		told = append(told, m[1])
	}
	for _, words := range told {
		if !known[words] {
			t.Errorf("nothing in the code says %q", words)
		}
	}
	if len(told) < 30 {
		t.Errorf("only %d were found: the search is broken", len(told))
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
	var names []string
	for _, d := range documentsOf(t) {
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
