package tidy

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// stringsOf are the texts that the program's own code holds, tests and demo apart.
func stringsOf(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.test() || strings.HasPrefix(f.path, "demo") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					all[strings.TrimSpace(text)] = true
				}
			}
			return true
		})
	}
	return all
}

// TestLabelsHaveTheValuesThatThePageLists holds docs/METRICS.md against the texts in the code; a test in internal/metrics
// holds names, types and labels.
func TestLabelsHaveTheValuesThatThePageLists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "METRICS.md"))
	if err != nil {
		t.Fatal(err)
	}
	known, checked := stringsOf(t), 0
	statuses := map[string]bool{"OK": true} // made by google.golang.org/grpc
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || !strings.HasPrefix(line, "| `") {
			continue
		}
		for label := range strings.SplitSeq(cells[3], ";") {
			_, values, _ := strings.Cut(label, ":")
			for _, m := range code.FindAllStringSubmatch(values, -1) {
				checked++
				if spaced := strings.ReplaceAll(m[1], " ", "_"); !known[m[1]] && !known[spaced] && !statuses[m[1]] {
					t.Errorf("%s: nothing in the code says %q", strings.TrimSpace(cells[1]), m[1])
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d values were found: the search is broken", checked)
	}
}
