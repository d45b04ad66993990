//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestPlotIsXMLWithEveryBar(t *testing.T) {
	text := Plot(`<A> & "B"`, []Panel{
		{Title: "rate, more is better", Bars: []Bar{
			{Label: "gateway", Role: Product, Stat: Stat{Median: 10, Min: 5, Max: 20, N: 3}},
			{Label: "a < b", Role: Competitor, Stat: Stat{Median: 4, Min: 4, Max: 4, N: 1}, Bad: true},
		}},
		{Title: "all zero", Bars: []Bar{{Label: "floor", Role: Floor, Stat: Stat{N: 1}}}},
	})
	d := xml.NewDecoder(strings.NewReader(text))
	var shown strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, text)
		}
		if data, ok := token.(xml.CharData); ok {
			shown.Write(data)
		}
	}
	for _, want := range []string{`<A> & "B"`, "gateway", "a < b", "✗ lost", "floor"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("the plot does not show %q", want)
		}
	}
	if bars := strings.Count(text, "<rect class=") - 1; bars != 3 { // one is the page
		t.Errorf("%d bars, want 3", bars)
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("a number that is none:\n%s", text)
	}
}

func TestReportShowsWhatWasLost(t *testing.T) {
	one := runOf("ping-64", 2, map[string]func(int) Values{
		"direct": rate(4000, 4000), "floor": rate(2000, 2000), "gateway": rate(1900, 1900), "nginx": rate(1000, 1000),
	})
	one.Configs["nginx.conf"] = "worker_processes 2;\n"
	two := runOf("ping-64", 1, map[string]func(int) Values{
		"gateway": func(int) Values { return Values{"seconds": 1, "operations": 1800, "cpu_s": 1, "lost": 3} },
	})
	two.Configs = one.Configs
	two.Samples = append(two.Samples, Sample{Work: "ping-64", Peer: "haproxy", Trouble: "the proxy ended | status 1"})
	page := filepath.Join(t.TempDir(), "docs", "BENCHMARKS.md")
	if err := writeReport(page, []*Run{one, two}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| **gateway** | 1900 (1800–1900) | 0.47 · 0.95 · 1.90 |", // of direct, floor and nginx
		"**in 1 of 3**: 3 lost",
		"the proxy ended / status 1", // a bar would break the table
		"0.95 ✓", "**1** ✗ of 1", "worker_processes 2;",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
			t.Errorf("the page leads nowhere: %v", err)
		}
	}
	again, err := readRun(filepath.Join(filepath.Dir(page), plotsDir, runFile(1)))
	if err != nil || len(again.Samples) != len(two.Samples) || again.Samples[0].Values["lost"] != 3 {
		t.Errorf("the raw results do not come back: %v %v", again, err)
	}
}
