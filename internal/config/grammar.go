package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// grammar is the language, read off the schema structs once.
var grammar = wordsOf(reflect.TypeFor[fileSchema]())

// words are what one kind of block may contain. gohcl would report an unknown word by itself, but knows neither the
// best suggestion nor the block where the word belongs.
type words struct {
	arguments []string
	blocks    map[string]*words
	label     string // what the block's label is, such as "name"; empty: it has none
}

// wordsOf reads the hcl tags of a schema struct and of the structs in it.
func wordsOf(schema reflect.Type) *words {
	w := &words{blocks: map[string]*words{}}
	for i := range schema.NumField() {
		field := schema.Field(i)
		name, kind, _ := strings.Cut(field.Tag.Get("hcl"), ",")
		switch kind {
		case "optional":
			w.arguments = append(w.arguments, name)
		case "label":
			w.label = name
		case "block":
			block := field.Type
			for block.Kind() != reflect.Struct {
				block = block.Elem()
			}
			w.blocks[name] = wordsOf(block)
		}
	}
	slices.Sort(w.arguments)
	return w
}

// all returns every word in alphabetical order.
func (w *words) all() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(w.blocks)), w.arguments...)))
}

// check reports the words of body that its block does not know, and labels too few or too many. What it reports it
// removes, so that decoding does not report it again.
func (w *words) check(r *reader, body *hclsyntax.Body) {
	for name, argument := range body.Attributes {
		if slices.Contains(w.arguments, name) {
			continue
		}
		delete(body.Attributes, name)
		if w.blocks[name] != nil {
			r.errorAt(argument.NameRange, "A block has no equals sign", "Write it as: %s", w.blocks[name].shape(name))
			continue
		}
		r.errorAt(argument.NameRange, "Unknown argument", "There is no argument %q here. %s", name, w.wayOut(name))
	}
	body.Blocks = slices.DeleteFunc(body.Blocks, func(block *hclsyntax.Block) bool {
		inner := w.blocks[block.Type]
		switch {
		case inner == nil && slices.Contains(w.arguments, block.Type):
			r.errorAt(block.TypeRange, "An argument needs an equals sign", "%s is an argument, not a block: write %s = ...", block.Type, block.Type)
			return true
		case inner == nil:
			r.errorAt(block.TypeRange, "Unknown block", "There is no block %q here. %s", block.Type, w.wayOut(block.Type))
			return true
		}
		inner.check(r, block.Body)
		return !inner.checkLabels(r, block)
	})
}

// checkLabels reports whether the block has the one label that it needs, or none.
func (w *words) checkLabels(r *reader, block *hclsyntax.Block) bool {
	switch {
	case w.label != "" && len(block.Labels) == 0:
		r.errorAt(block.TypeRange, "The label is missing", "Write it as: %s", w.shape(block.Type))
		return false
	case w.label == "" && len(block.Labels) > 0:
		r.errorAt(block.LabelRanges[0], "One label too many", "Write it as: %s", w.shape(block.Type))
		return false
	case len(block.Labels) > 1:
		r.errorAt(block.LabelRanges[1], "One label too many", "Write it as: %s", w.shape(block.Type))
		return false
	}
	return true
}

// shape shows how a block of this kind is written.
func (w *words) shape(name string) string {
	if w.label == "" {
		return name + " { ... }"
	}
	return fmt.Sprintf("%s %q { ... }", name, strings.ToUpper(w.label))
}

// wayOut tells what to write instead of an unknown word.
func (w *words) wayOut(name string) string {
	if meant := suggest(name, w.all()); meant != "" {
		return fmt.Sprintf("Did you mean %q?", meant)
	}
	if home := grammar.home(name); home != "" {
		return fmt.Sprintf("It belongs into a %s block.", home)
	}
	if w == grammar && slices.Contains(grammar.all(), name) {
		return "It belongs at the top of the file, outside every block."
	}
	return "Possible here: " + strings.Join(w.all(), ", ") + "."
}

// home finds the kind of block that knows a word, "" if none does.
func (w *words) home(name string) string {
	for _, kind := range slices.Sorted(maps.Keys(w.blocks)) {
		inner := w.blocks[kind]
		if slices.Contains(inner.arguments, name) || inner.blocks[name] != nil {
			return kind
		}
		if deeper := inner.home(name); deeper != "" {
			return deeper
		}
	}
	return ""
}
