package config

import (
	"fmt"
	"io"
	"sort"

	"github.com/hashicorp/hcl/v2"
)

// shownMax is how many diagnostics are printed. Quoting costs a pass over the file each.
const shownMax = 20

// Diagnostics are the errors and warnings about one configuration file, in file order, with the source they quote.
// The zero value says that all is well.
type Diagnostics struct {
	hcl.Diagnostics
	files map[string]*hcl.File
}

// Write prints every diagnostic for people: what, where, the line, and what to do. Width is the terminal's number of
// columns, 0 for no wrapping; color marks the severity and the place by VT100 sequences.
func (d Diagnostics) Write(w io.Writer, width int, color bool) error {
	shown := d.Diagnostics[:min(len(d.Diagnostics), shownMax)]
	err := hcl.NewDiagnosticTextWriter(w, d.files, uint(max(width, 0)), color).WriteDiagnostics(shown)
	if more := len(d.Diagnostics) - len(shown); more > 0 && err == nil {
		_, err = fmt.Fprintf(w, "And %d more.\n", more)
	}
	return err
}

// add appends and restores file order; what has no place comes first.
func (d *Diagnostics) add(more hcl.Diagnostics) {
	d.Diagnostics = append(d.Diagnostics, more...)
	sort.SliceStable(d.Diagnostics, func(i, j int) bool {
		a, b := d.Diagnostics[i].Subject, d.Diagnostics[j].Subject
		if a == nil || b == nil {
			return a == nil && b != nil
		}
		return a.Start.Byte < b.Start.Byte
	})
}
