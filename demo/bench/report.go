//go:build linux

package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

// plotsDir is where plots, configurations and raw figures go, beside the report.
const plotsDir = "bench"

//go:embed report.md.tmpl
var reportTemplate string

// Report is what the template is filled with.
type Report struct {
	Board  Board
	Runs   []*Run
	Goals  [][]string // rows of a table
	Works  []WorkReport
	Others Stat // cores that programs other than the benchmark's kept busy
}

// WorkReport is one work's section.
type WorkReport struct {
	*Work
	Plot   string // file
	Header []string
	Rows   [][]string
	Notes  []string
}

// Last is the run whose machine and configurations are shown.
func (r Report) Last() *Run { return r.Runs[len(r.Runs)-1] }

// ConfigNames are the configurations of the peers.
func (r Report) ConfigNames() []string { return slices.Sorted(maps.Keys(r.Last().Configs)) }

// writeReport writes the page, its plots, the configurations and the runs.
func writeReport(page string, runs []*Run) error {
	dir := filepath.Join(filepath.Dir(page), plotsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	report := newReport(runs)
	files := map[string][]byte{}
	for _, w := range report.Works {
		files[w.Plot] = []byte(report.plot(w.Work))
	}
	for name, text := range report.Last().Configs {
		files[name] = []byte(text)
	}
	for i, run := range runs {
		text, err := json.MarshalIndent(run, "", " ")
		if err != nil {
			return err
		}
		files[runFile(i)] = append(text, '\n')
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	text, err := report.markdown()
	if err != nil {
		return err
	}
	return os.WriteFile(page, text, 0o644)
}

func runFile(i int) string { return fmt.Sprintf("run-%d.json", i+1) }

func readRun(path string) (*Run, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	run := new(Run)
	if err := json.Unmarshal(text, run); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return run, nil
}

func newReport(runs []*Run) Report {
	r := Report{Board: Board{runs: runs}, Runs: runs, Goals: goalRows(runs)}
	var others []float64
	for _, run := range runs {
		for _, s := range run.Samples {
			if x, ok := s.Values["others_cores"]; ok {
				others = append(others, x)
			}
		}
	}
	r.Others = stat(others)
	for _, w := range Works {
		if section := r.section(w); len(section.Rows) > 0 {
			r.Works = append(r.Works, section)
		}
	}
	return r
}

func (r Report) markdown() ([]byte, error) {
	functions := template.FuncMap{
		"row":     func(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" },
		"rule":    func(cells []string) string { return "|---" + strings.Repeat("|---:", len(cells)-1) + "|" },
		"runFile": runFile,
		"next":    func(i int) int { return i + 1 },
		"number":  number,
		"minutes": func(d time.Duration) string { return d.Round(time.Second).String() },
		"date":    func(t time.Time) string { return t.Format(time.DateOnly) },
	}
	t, err := template.New("report").Funcs(functions).Parse(reportTemplate)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return b.Bytes(), nil
}

// goalRows are the lines of the first table: wish and value, run by run.
func goalRows(runs []*Run) [][]string {
	var rows [][]string
	for _, g := range Goals {
		row := []string{g.Text, g.wish()}
		for _, run := range runs {
			row = append(row, g.verdict(Board{runs: []*Run{run}}))
		}
		rows = append(rows, row)
	}
	row := []string{"samples of the gateway that lost or failed something", "none"}
	for _, run := range runs {
		bad, all := 0, 0
		for _, w := range Works {
			for _, p := range Peers {
				if p.Role == Product {
					_, b, n := Board{runs: []*Run{run}}.troubles(w, p)
					bad, all = bad+b, all+n
				}
			}
		}
		row = append(row, fmt.Sprintf("%s of %d", mark(bad == 0, fmt.Sprint(bad)), all))
	}
	return append(rows, row)
}

// verdict is a goal's value with its mark.
func (g Goal) verdict(b Board) string {
	x, ok := g.value(b)
	if !ok {
		return "–"
	}
	return mark(g.met(x), plainNumber(x))
}

func mark(good bool, text string) string {
	if good {
		return text + " ✓"
	}
	return "**" + text + "** ✗"
}

// section is a work's table: a row for each peer that took part.
func (r Report) section(w *Work) WorkReport {
	s := WorkReport{Work: w, Plot: w.Name + ".svg", Header: []string{""}}
	for _, f := range w.Figures {
		s.Header = append(s.Header, f.Title)
		if f.Compared {
			s.Header = append(s.Header, ratioHeader(f))
		}
	}
	s.Header = append(s.Header, "lost or failed")
	for _, p := range Peers {
		if why := p.sitsOut(w); why != "" {
			if p.Needs != nil {
				s.Notes = append(s.Notes, p.Title+" takes no part: "+why+".")
			}
			continue
		}
		what, bad, all := r.Board.troubles(w, p)
		if all == 0 {
			continue
		}
		row := []string{p.Title}
		for _, f := range w.Figures {
			st := r.Board.stat(w, p, f)
			row = append(row, cell(st))
			if f.Compared {
				row = append(row, r.ratios(w, f, st))
			}
		}
		s.Rows = append(s.Rows, append(row, troubleCell(what, bad, all)))
	}
	return s
}

func cell(st Stat) string {
	switch st.N {
	case 0:
		return "–"
	case 1:
		return number(st.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(st.Median), number(st.Min), number(st.Max))
}

func ratioHeader(f Figure) string {
	if f.OfProxy {
		return "× floor · best peer"
	}
	return "× direct · floor · best peer"
}

// ratios compares a median with those of the direct connection, the floor and the best competitor.
func (r Report) ratios(w *Work, f Figure, st Stat) string {
	bases := []Stat{r.Board.stat(w, peerNamed("floor"), f)}
	if !f.OfProxy {
		bases = append([]Stat{r.Board.stat(w, peerNamed("direct"), f)}, bases...)
	}
	_, best := r.Board.best(w, f)
	var cells []string
	for _, base := range append(bases, best) {
		if st.N == 0 || base.N == 0 || base.Median == 0 {
			cells = append(cells, "–")
		} else {
			cells = append(cells, fmt.Sprintf("%.2f", st.Median/base.Median))
		}
	}
	return strings.Join(cells, " · ")
}

// troubleCell tells in how many samples something was lost, and what, once each.
func troubleCell(what []string, bad, all int) string {
	if bad == 0 {
		return "none"
	}
	slices.Sort(what)
	text := strings.Join(slices.Compact(what), "; ")
	return fmt.Sprintf("**in %d of %d**: %s", bad, all, strings.ReplaceAll(text, "|", "/"))
}

func (r Report) plot(w *Work) string {
	var panels []Panel
	for _, f := range w.Figures {
		panel := Panel{Title: f.Title + ", " + direction(f)}
		for _, p := range Peers {
			st := r.Board.stat(w, p, f)
			if st.N == 0 {
				continue
			}
			_, bad, _ := r.Board.troubles(w, p)
			panel.Bars = append(panel.Bars, Bar{Label: strings.Trim(p.Title, "*"), Role: p.Role, Stat: st, Bad: bad > 0})
		}
		panels = append(panels, panel)
	}
	return Plot(w.Title, panels)
}

func direction(f Figure) string {
	if f.Higher {
		return "more is better"
	}
	return "less is better"
}
