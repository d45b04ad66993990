package tidy

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const complaintsMin = 17 // that were collected

// TestEveryComplaintNamesTestsThatExist holds docs/COMPLAINTS.md against the tests of the tree.
func TestEveryComplaintNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "COMPLAINTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for _, f := range goFiles(t) {
		if !f.test() {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				exists[fn.Name.Name] = true
			}
		}
	}
	named := regexp.MustCompile("`(Test[A-Z0-9]\\w+)`")
	complaints := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[0], "-") || strings.TrimSpace(cells[0]) == "complaint" {
			continue
		}
		complaints++
		tests := named.FindAllStringSubmatch(cells[3], -1)
		if len(tests) == 0 {
			t.Errorf("no test shows what is done about: %s", cells[0])
		}
		for _, m := range tests {
			if !exists[m[1]] {
				t.Errorf("%s: there is no %s", strings.TrimSpace(cells[0]), m[1])
			}
		}
	}
	if complaints < complaintsMin {
		t.Errorf("%d complaints were read, want %d", complaints, complaintsMin)
	}
}
