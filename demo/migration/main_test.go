package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildGateway makes the binary that the play runs.
func buildGateway(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, "gateway/cmd/gateway").CombinedOutput(); err != nil {
		t.Fatalf("building the gateway: %v\n%s", err, out)
	}
	return binary
}

func TestTheWholeMoveLosesNothingAndAnswersNothingTwice(t *testing.T) {
	if err := run(t.Context(), buildGateway(t), 100*time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestAMoveThatGoesWrongIsNotCalledWell(t *testing.T) {
	for name, spoil := range map[string]func(*tally){
		"lost":     func(t *tally) { t.ask("x") },
		"twice":    func(t *tally) { n := t.ask("x"); t.answer(n, greet(n), nil); t.answer(n, greet(n), nil) },
		"served":   func(t *tally) { t.enter(3); n := t.ask("x"); t.served(n); t.served(n); t.answer(n, greet(n), nil) },
		"crossed":  func(t *tally) { n := t.ask("x"); t.answer(n, "Hello, you!", nil) },
		"troubled": func(t *tally) { t.trouble("x") },
	} {
		tally := newTally()
		spoil(tally)
		if tally.verdict() == nil {
			t.Errorf("%s: all is well", name)
		}
	}
	tally := newTally()
	tally.enter(stageMirrored)
	n := tally.ask("x")
	tally.served(n)
	tally.served(n)
	tally.answer(n, greet(n), nil)
	if err := tally.verdict(); err != nil {
		t.Errorf("a mirrored call was called wrong: %v", err)
	}
}

func TestTheManualShowsEachStageAsItIsPlayed(t *testing.T) {
	manual, err := os.ReadFile("../../docs/MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	binary := buildGateway(t)
	base, err := stageFiles.ReadFile("stages/base.hcl")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base", "1", "2", "3", "4", "5"} {
		text, err := stageFiles.ReadFile("stages/" + name + ".hcl")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(manual), fmt.Sprintf("```hcl\n%s```\n", text)) {
			t.Errorf("docs/MIGRATING.md does not show stages/%s.hcl", name)
		}
		if name == "base" {
			continue
		}
		file := filepath.Join(t.TempDir(), "gateway.hcl")
		if err := os.WriteFile(file, append(append(base, '\n'), text...), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"check", "-config", file}, {"fmt", "-check", "-config", file}} {
			if out, err := exec.Command(binary, command...).CombinedOutput(); err != nil || strings.Contains(string(out), "Warning") {
				t.Errorf("stages/%s.hcl: gateway %s: %v\n%s", name, command[0], err, out)
			}
		}
	}
}
