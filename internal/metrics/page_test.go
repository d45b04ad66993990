package metrics

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// described is what a page can say wrong about a metric.
type described struct{ kind, labels string }

// TestPageDescribesEveryMetricAndNoOther holds docs/METRICS.md against what is registered.
func TestPageDescribesEveryMetricAndNoOther(t *testing.T) {
	page, registered := describedByPage(t), describedByRegistry(t)
	for name, d := range registered {
		told, ok := page[name]
		switch {
		case !ok:
			t.Errorf("docs/METRICS.md does not tell of %s, a %s with the labels [%s]", name, d.kind, d.labels)
		case told != d:
			t.Errorf("docs/METRICS.md says that %s is a %s with the labels [%s]; it is a %s with [%s]", name, told.kind, told.labels, d.kind, d.labels)
		}
	}
	for name := range page {
		if _, ok := registered[name]; !ok {
			t.Errorf("docs/METRICS.md tells of %s, which does not exist", name)
		}
	}
}

// TestDocumentsNameMetricsThatExist looks for names of metrics in all documents.
func TestDocumentsNameMetricsThatExist(t *testing.T) {
	registered := describedByRegistry(t)
	named := regexp.MustCompile(`\b(gateway|grpc_server)(_[a-z0-9]+)+\b`)
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			_, exists := registered[name]
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				if whole, ok := strings.CutSuffix(name, part); ok && registered[whole].kind == "histogram" {
					exists = true
				}
			}
			if !exists {
				t.Errorf("%s: there is no metric %s", filepath.Base(path), name)
			}
		}
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	return append(paths, "../../README.md")
}

// describedByPage reads the tables: metric, type, labels with their values after a colon.
func describedByPage(t *testing.T) map[string]described {
	t.Helper()
	text, err := os.ReadFile("../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([a-z]+) \\| (.*?)\\|")
	all := map[string]described{}
	for line := range strings.Lines(string(text)) {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if _, twice := all[m[1]]; twice {
			t.Errorf("docs/METRICS.md tells of %s twice", m[1])
		}
		all[m[1]] = described{m[2], labelsOf(m[3])}
	}
	return all
}

// labelsOf takes the labels out of a cell such as "`a`, `b`: `value`, `value`; `c`".
func labelsOf(cell string) string {
	code := regexp.MustCompile("`([a-z_]+)`")
	var names []string
	for part := range strings.SplitSeq(cell, ";") {
		labels, _, _ := strings.Cut(part, ":")
		for _, m := range code.FindAllStringSubmatch(labels, -1) {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// describedByRegistry makes a series of each metric, and reads what they are.
func describedByRegistry(t *testing.T) map[string]described {
	t.Helper()
	m := New()
	watchAll(m)
	touch(t, reflect.ValueOf(m))
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]described{}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "go_") || strings.HasPrefix(f.GetName(), "process_") {
			continue
		}
		labels := map[string]bool{}
		for _, pair := range f.Metric[0].Label {
			labels[pair.GetName()] = true
		}
		all[f.GetName()] = described{strings.ToLower(f.GetType().String()), strings.Join(slices.Sorted(maps.Keys(labels)), " ")}
	}
	for name := range descriptions(m.Registry) {
		if _, ok := all[name]; !ok && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is registered and no field of Metrics leads to it", name)
		}
	}
	return all
}

// watchAll calls each Watch method, with functions that return one of something.
func watchAll(m *Metrics) {
	v := reflect.ValueOf(m)
	for i := range v.NumMethod() {
		if !strings.HasPrefix(v.Type().Method(i).Name, "Watch") {
			continue
		}
		watch := v.Method(i)
		sources := make([]reflect.Value, watch.Type().NumIn())
		for n := range sources {
			source := watch.Type().In(n)
			sources[n] = reflect.MakeFunc(source, func([]reflect.Value) []reflect.Value {
				one := reflect.New(source.Out(0)).Elem()
				if one.Kind() == reflect.Slice {
					one = reflect.MakeSlice(one.Type(), 1, 1)
				}
				return []reflect.Value{one}
			})
		}
		watch.Call(sources)
	}
}

// touch makes one series of every vector below v.
func touch(t *testing.T, v reflect.Value) {
	t.Helper()
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Type() == reflect.TypeFor[*prometheus.Registry]() {
		return
	}
	if c, ok := v.Interface().(prometheus.Collector); ok {
		for _, labels := range descriptions(c) {
			switch vec := c.(type) {
			case *prometheus.CounterVec:
				vec.WithLabelValues(labels...)
			case *prometheus.GaugeVec:
				vec.WithLabelValues(labels...)
			case *prometheus.HistogramVec:
				vec.WithLabelValues(labels...)
			default:
				t.Errorf("a %T: teach this test to read it", c)
			}
		}
		return
	}
	if v.Elem().Kind() != reflect.Struct {
		return
	}
	for i := range v.Elem().NumField() {
		if v.Elem().Type().Field(i).IsExported() {
			touch(t, v.Elem().Field(i))
		}
	}
}

var description = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", .*, variableLabels: \{([^}]*)\}\}$`)

// descriptions are the names of metrics, each with as many texts as it has labels.
func descriptions(c prometheus.Collector) map[string][]string {
	ch := make(chan *prometheus.Desc)
	go func() {
		c.Describe(ch)
		close(ch)
	}()
	all := map[string][]string{}
	for d := range ch {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			panic(fmt.Sprintf("a description that this test cannot read: %s", d))
		}
		all[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })
	}
	return all
}
