package pair

import (
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// folders are where the tests that REQUIREMENTS.md names stand.
var folders = map[string]string{"pair": ".", "agent": "agent", "e2e": "../../internal/e2e"}

var requirements = []string{"100", "110", "120", "130", "140", "150", "160", "170", "180", "190", "200", "210", "220", "230"}

func TestEveryRequirementIsShownByTestsThatRun(t *testing.T) {
	text, err := os.ReadFile("REQUIREMENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]map[string]bool{}
	for name, folder := range folders {
		tests[name] = testsThatRun(t, folder)
	}
	reference := regexp.MustCompile("`(\\w+)\\.(Test\\w+)`")
	named := map[string]int{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], "-") || strings.Contains(cells[1], "#") || strings.Contains(cells[1], "asks") {
			continue
		}
		references := reference.FindAllStringSubmatch(cells[len(cells)-2], -1)
		named[strings.TrimSpace(cells[1])] = len(references)
		for _, r := range references {
			if !tests[r[1]][r[2]] {
				t.Errorf("%s: %s.%s does not exist, or does not run in make test", strings.TrimSpace(cells[1]), r[1], r[2])
			}
		}
	}
	for _, number := range requirements {
		if named[number] == 0 {
			t.Errorf("no test shows requirement %s", number)
		}
	}
}

// testsThatRun are the tests of a folder that `make test` runs: with the tags libzmq and race, and none that skips itself.
func testsThatRun(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", folder, err)
	}
	tests := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if !builds(t, parsed) {
			continue
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && !skips(f) {
				tests[f.Name.Name] = true
			}
		}
	}
	return tests
}

// builds tells whether a file's build constraint lets `make test` have it.
func builds(t *testing.T, f *ast.File) bool {
	t.Helper()
	for _, group := range f.Comments {
		for _, c := range group.List {
			if c.Pos() > f.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			if err != nil {
				t.Fatal(err)
			}
			return expr.Eval(func(tag string) bool { return tag == "libzmq" || tag == "race" || tag == "linux" })
		}
	}
	return true
}

func skips(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(call.Sel.Name, "Skip") {
			found = true
		}
		return true
	})
	return found
}
