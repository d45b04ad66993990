package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// node is a JSON value with its fields in their order. It shows whatever /status contains: a block that is new tomorrow has its
// table too.
type node struct {
	text   string // of a scalar
	fields []field
	items  []node
	object bool
	list   bool
}

type field struct {
	name  string
	value node
}

// tables shows JSON to people: lists of flat objects as tables, single values in a line, the rest under headings.
func tables(text string) (string, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	n, err := readNode(d)
	if err != nil {
		return "", fmt.Errorf("the status makes no sense: %w", err)
	}
	var out strings.Builder
	n.show(&out, "")
	return out.String(), nil
}

func readNode(d *json.Decoder) (n node, err error) {
	token, err := d.Token()
	if err != nil {
		return n, err
	}
	switch token {
	case json.Delim('{'):
		n.object = true
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return n, err
			}
			value, err := readNode(d)
			if err != nil {
				return n, err
			}
			n.fields = append(n.fields, field{fmt.Sprint(name), value})
		}
	case json.Delim('['):
		n.list = true
		for d.More() {
			item, err := readNode(d)
			if err != nil {
				return n, err
			}
			n.items = append(n.items, item)
		}
	case nil:
		return n, nil
	default:
		n.text = fmt.Sprint(token)
		return n, nil
	}
	_, err = d.Token() // the closing bracket
	return n, err
}

func (n node) scalar() bool { return !n.object && !n.list }

// flat tells whether an object has nothing but scalars.
func (n node) flat() bool {
	return n.object && !slices.ContainsFunc(n.fields, func(f field) bool { return !f.value.scalar() })
}

// show prints an object below its heading.
func (n node) show(w io.Writer, heading string) {
	var line []string
	for _, f := range n.fields {
		if f.value.scalar() && f.value.text != "" {
			line = append(line, label(f.name)+" "+cell(f.name, f.value))
		}
	}
	if heading != "" {
		fmt.Fprintf(w, "\n%s\n", heading)
	}
	if len(line) > 0 {
		fmt.Fprintln(w, strings.Join(line, "   "))
	}
	for _, f := range n.fields {
		title := strings.TrimSpace(heading + " " + label(f.name))
		switch {
		case f.value.object:
			f.value.show(w, title)
		case f.value.list:
			f.value.showList(w, title)
		}
	}
}

// showList prints a table, or one thing after the other where they have parts.
func (n node) showList(w io.Writer, heading string) {
	if len(n.items) == 0 {
		return
	}
	if !slices.ContainsFunc(n.items, func(i node) bool { return !i.scalar() }) {
		var line []string
		for _, item := range n.items {
			line = append(line, cell("", item))
		}
		fmt.Fprintf(w, "%s: %s\n", heading, strings.Join(line, ", "))
		return
	}
	if slices.ContainsFunc(n.items, func(i node) bool { return !i.flat() }) {
		for number, item := range n.items {
			item.show(w, fmt.Sprintf("%s %s", heading, item.title(number+1)))
		}
		return
	}
	fmt.Fprintf(w, "\n%s\n", heading)
	var columns []string
	for _, item := range n.items {
		for _, f := range item.fields {
			if f.value.text != "" && !slices.Contains(columns, f.name) {
				columns = append(columns, f.name)
			}
		}
	}
	var padded strings.Builder
	t := tabwriter.NewWriter(&padded, 0, 0, 2, ' ', 0)
	for _, c := range columns {
		fmt.Fprintf(t, "%s\t", label(c))
	}
	fmt.Fprintln(t)
	for _, item := range n.items {
		for _, c := range columns {
			fmt.Fprintf(t, "%s\t", cell(c, item.of(c)))
		}
		fmt.Fprintln(t)
	}
	t.Flush() // a Builder takes everything
	for line := range strings.Lines(padded.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// title names one of several objects.
func (n node) title(number int) string {
	if name := n.of("name").text; name != "" {
		return name
	}
	return fmt.Sprint(number)
}

func (n node) of(name string) node {
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return node{}
}

// label is a field's name for people; the unit shows in the value.
func label(name string) string {
	for _, unit := range []string{"_seconds", "_bytes"} {
		name = strings.TrimSuffix(name, unit)
	}
	return strings.ReplaceAll(strings.ToLower(name), "_", " ")
}

// age is a duration to three digits or so.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// cell is a value for people. Text from outside may hold anything: what is not printable is escaped.
func cell(name string, n node) string {
	if n.text == "" {
		return "-"
	}
	if strings.HasSuffix(name, "_seconds") {
		if seconds, err := strconv.ParseFloat(n.text, 64); err == nil {
			return age(time.Duration(seconds * float64(time.Second)))
		}
	}
	quoted := fmt.Sprintf("%q", n.text)
	return quoted[1 : len(quoted)-1]
}
