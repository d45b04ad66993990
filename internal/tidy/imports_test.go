package tidy

import (
	"strconv"
	"strings"
	"testing"
)

// module is the prefix of our own import paths.
const module = "gateway/"

// importRules: what a package may import of ours; the longest folder that is a prefix decides. cmd, demo's programs and
// the end-to-end tests may import anything.
var importRules = []struct {
	folder  string
	allowed []string
}{
	{"sniff", []string{"internal/metrics"}},
	{"backends/relay", []string{"internal/metrics", "internal/bare"}},
	{"backends", []string{"backends/relay", "internal/bare", "internal/grpcwire", "internal/inproc", "internal/zmtp", "proto", "internal/metrics"}},
	{"internal/gateway", []string{"sniff", "internal/metrics", "internal/resource", "internal/zmtp"}},
	{"internal/config", nil},
	{"internal/bare", nil},
	{"internal/freeport", nil},
	{"internal/grpcwire", nil},
	{"internal/inproc", nil},
	{"internal/zmtp", []string{"internal/zmtp"}}, // its transport is a package of its own
	{"internal/resource", nil},
	{"internal/metrics", nil},
	{"internal/tracing", nil},
	{"internal/admin", nil},
	{"internal/handover", nil},
	{"internal/tidy", nil},
	{"proto", []string{"proto"}},
	{"demo/peers", []string{"internal/zmtp", "proto", "demo/peers"}},
}

// forTests is what every test may import besides.
var forTests = []string{"internal/freeport"}

// anything lists the folders without a rule.
var anything = []string{"cmd", "demo", "internal/e2e"}

func within(folder, rule string) bool { return folder == rule || strings.HasPrefix(folder, rule+"/") }

func TestImportsRunOneWay(t *testing.T) {
	for _, f := range goFiles(t) {
		allowed, ruled := rule(f.folder())
		if !ruled {
			if !anyWithin(f.folder(), anything) {
				t.Errorf("%s: no import rule covers this folder", f.path)
			}
			continue
		}
		for _, spec := range f.ast.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			ours, ok := strings.CutPrefix(p, module)
			if !ok || within(ours, f.folder()) {
				continue
			}
			if !anyWithin(ours, allowed) && !(f.test() && anyWithin(ours, forTests)) {
				t.Errorf("%s: %s may not import %s", f.fset.Position(spec.Pos()), f.folder(), ours)
			}
		}
	}
}

func rule(folder string) (allowed []string, ok bool) {
	longest := -1
	for _, r := range importRules {
		if within(folder, r.folder) && len(r.folder) > longest {
			longest, allowed, ok = len(r.folder), r.allowed, true
		}
	}
	return allowed, ok
}

func anyWithin(folder string, rules []string) bool {
	for _, r := range rules {
		if within(folder, r) {
			return true
		}
	}
	return false
}

// TestOnlyWireNamesConcreteBackends: one file turns configuration into backends.
func TestOnlyWireNamesConcreteBackends(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.folder() != "cmd/gateway" || f.test() || strings.HasPrefix(f.path, "cmd/gateway/wire") {
			continue
		}
		for _, spec := range f.ast.Imports {
			if strings.HasPrefix(spec.Path.Value, `"`+module+"backends/") {
				t.Errorf("%s: %s imports %s; only wire.go names backends", f.fset.Position(spec.Pos()), f.path, spec.Path.Value)
			}
		}
	}
}
