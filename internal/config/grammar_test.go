package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// commentedWord is a line of demo/full.hcl that is configuration, commented out.
var commentedWord = regexp.MustCompile(`(?m)^(\s*)# (\s*(?:[a-z_]+ += |[a-z_]+ (?:"[^"]*" )?\{|\}))`)

// TestFullExampleShowsExactlyTheWordsThatExist holds demo/full.hcl against the schema, in both directions.
func TestFullExampleShowsExactlyTheWordsThatExist(t *testing.T) {
	src, err := os.ReadFile("../../demo/full.hcl")
	if err != nil {
		t.Fatal(err)
	}
	file, diags := hclsyntax.ParseConfig(commentedWord.ReplaceAll(src, []byte("$1$2")), "full.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("demo/full.hcl with its comments in place: %v", diags)
	}
	shown, exist := map[string]bool{}, map[string]bool{}
	collectShown(file.Body.(*hclsyntax.Body), "", shown)
	collectExisting(grammar, "", exist)
	for word := range exist {
		if !shown[word] {
			t.Errorf("demo/full.hcl does not show: %s", word)
		}
	}
	for word := range shown {
		if !exist[word] {
			t.Errorf("demo/full.hcl shows what does not exist: %s", word)
		}
	}
	if len(exist) < 30 {
		t.Errorf("only %d words were read off the schema: %v", len(exist), slices.Sorted(maps.Keys(exist)))
	}
}

func collectShown(body *hclsyntax.Body, path string, into map[string]bool) {
	for name := range body.Attributes {
		into[path+name] = true
	}
	for _, block := range body.Blocks {
		into[path+block.Type] = true
		collectShown(block.Body, path+block.Type+".", into)
	}
}

func collectExisting(w *words, path string, into map[string]bool) {
	for _, name := range w.arguments {
		into[path+name] = true
	}
	for kind, inner := range w.blocks {
		into[path+kind] = true
		collectExisting(inner, path+kind+".", into)
	}
}

func TestUnknownWordsGetTheRightWayOut(t *testing.T) {
	for _, c := range []struct{ block, word, want string }{
		{"", "lsiten", `Did you mean "listen"?`},
		{"", "dial", `It belongs in: relay { dial }`},
		{"", "weight", `It belongs in: grpc { to { weight } }`},
		{"relay", "timeout", `It belongs in: grpc { timeout }`},
		{"relay", "percent", `It belongs in: match { percent }`},
		{"admin", "backend", `It belongs outside every block.`},
		{"log", "colour", `Possible here: format, level.`},
		{"listen", "sniff", `Did you mean "sniff_timeout"?`},
	} {
		w := grammar
		if c.block != "" {
			w = grammar.blocks[c.block]
		}
		if got := w.wayOut(c.word); got != c.want {
			t.Errorf("%s in %q: got %q, want %q", c.word, c.block, got, c.want)
		}
	}
}

func TestSuggestionsAreWhatWasMeantOrNothing(t *testing.T) {
	for _, c := range []struct {
		given string
		known []string
		want  string
	}{
		{"leastconn", []string{"round_robin", "least_connections"}, "least_connections"},
		{"LEAST-REQUEST", []string{"least_request"}, "least_request"},
		{"tpc://", dialSchemes, "tcp://"},
		{"http://", dialSchemes, ""},
		{"warning", []string{"info", "warn"}, "warn"},
		{"", []string{"a"}, ""},
		{"x", []string{"y"}, ""},
		{"messages", []string{"telemetry"}, ""},
		{"grettr", []string{"next", "greeter"}, "greeter"},
	} {
		if got := suggest(c.given, c.known); got != c.want {
			t.Errorf("suggest(%q, %q) = %q, want %q", c.given, c.known, got, c.want)
		}
	}
}

func TestMessagesRepeatNoControlCharactersAndNoNovels(t *testing.T) {
	if got := quoted("\x1b[31m" + strings.Repeat("a", 10*quotedBytesMax)); strings.Contains(got, "\x1b") || len(got) > 2*quotedBytesMax {
		t.Errorf("quoted gave %d bytes: %s", len(got), got)
	}
}
