package tidy

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const (
	functionLinesMax = 70
	fileLinesMax     = 500
)

// longFunctions and longFiles are the exceptions, each with its reason.
var (
	longFunctions = map[string]string{}
	longFiles     = map[string]string{}
)

// goFile is one parsed Go file of ours, its path relative to the root, with slashes.
type goFile struct {
	path string
	src  []byte
	fset *token.FileSet
	ast  *ast.File
}

func (f *goFile) generated() bool { return ast.IsGenerated(f.ast) }
func (f *goFile) test() bool      { return strings.HasSuffix(f.path, "_test.go") }
func (f *goFile) folder() string  { return path.Dir(f.path) }

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the root was not found: %v", err)
	}
	return dir
}

func goFiles(t *testing.T) []*goFile {
	t.Helper()
	top := root(t)
	var files []*goFile
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base == "node_modules" || base == "testdata" || base == "bin" || strings.HasPrefix(base, ".") && name != top {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, name, src, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		files = append(files, &goFile{filepath.ToSlash(rel), src, fset, parsed})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files found below %s: the walk is broken", len(files), top)
	}
	return files
}

func TestGofmt(t *testing.T) {
	for _, f := range goFiles(t) {
		want, err := format.Source(f.src)
		if err != nil {
			t.Errorf("%s: %v", f.path, err)
		} else if !bytes.Equal(want, f.src) {
			t.Errorf("%s: gofmt would change it; run make fmt", f.path)
		}
	}
}

func TestFunctionsFitAScreen(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.generated() {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			name := f.path + ":" + fn.Name.Name
			if lines > functionLinesMax && longFunctions[name] == "" {
				t.Errorf("%s: %s has %d lines, at most %d", f.fset.Position(fn.Pos()), fn.Name.Name, lines, functionLinesMax)
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range goFiles(t) {
		if lines := bytes.Count(f.src, []byte("\n")); lines > fileLinesMax && !f.generated() && longFiles[f.path] == "" {
			t.Errorf("%s has %d lines, at most %d: look for a seam", f.path, lines, fileLinesMax)
		}
	}
}

func TestEveryPackageHasAManual(t *testing.T) {
	manual, folders := map[string]bool{}, map[string]string{}
	for _, f := range goFiles(t) {
		if f.generated() || f.test() {
			continue
		}
		folders[f.folder()] = f.path
		if f.ast.Doc.Text() != "" {
			manual[f.folder()] = true
		}
	}
	for folder := range folders {
		if !manual[folder] {
			t.Errorf("package %s has no package comment", folder)
		}
	}
}

// TestNoWallClockArithmetic refuses what breaks when somebody sets the clock. time.Now is monotonic as long as nothing
// strips it, so durations come from time.Since and Sub; Unix, Round(0), Equal and the like compare wall clocks.
func TestNoWallClockArithmetic(t *testing.T) {
	strips := map[string]bool{"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true}
	for _, f := range goFiles(t) {
		if f.generated() || f.test() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			b, ok := n.(*ast.BinaryExpr)
			if !ok || b.Op != token.SUB && b.Op != token.LSS && b.Op != token.GTR && b.Op != token.LEQ && b.Op != token.GEQ {
				return true
			}
			for _, side := range []ast.Expr{b.X, b.Y} {
				if call, ok := side.(*ast.CallExpr); ok {
					if sel, ok := call.Fun.(*ast.SelectorExpr); ok && strips[sel.Sel.Name] {
						t.Errorf("%s: arithmetic on %s() follows the wall clock; use time.Since or Sub", f.fset.Position(b.Pos()), sel.Sel.Name)
					}
				}
			}
			return true
		})
	}
}
