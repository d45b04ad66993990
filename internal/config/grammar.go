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
// takes out, so that decoding does not report it again; a slip of the finger it reads as what was meant, so that
// nothing is reported missing and the rest of the word is looked at too.
func (w *words) check(r *reader, body *hclsyntax.Body) {
	for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
		if !slices.Contains(w.arguments, name) {
			w.checkUnknownArgument(r, body, body.Attributes[name])
		}
	}
	body.Blocks = slices.DeleteFunc(body.Blocks, func(block *hclsyntax.Block) bool {
		if w.blocks[block.Type] == nil && !w.readUnknownBlock(r, block) {
			return true
		}
		inner := w.blocks[block.Type]
		inner.check(r, block.Body)
		return !inner.checkLabel(r, block)
	})
}

func (w *words) checkUnknownArgument(r *reader, body *hclsyntax.Body, argument *hclsyntax.Attribute) {
	name := argument.Name
	delete(body.Attributes, name)
	if w.blocks[name] != nil {
		r.errorAt(argument.NameRange, "A block has no equals sign", "Write it as: %s", w.blocks[name].shape(name))
		return
	}
	r.errorAt(argument.NameRange, "Unknown argument", "There is no argument %s here. %s", quoted(name), w.wayOut(name))
	if meant := suggest(name, w.arguments); meant != "" && body.Attributes[meant] == nil {
		argument.Name = meant
		body.Attributes[meant] = argument
	}
}

// readUnknownBlock reports a block of an unknown kind, and whether the kind that was meant is clear and now set.
func (w *words) readUnknownBlock(r *reader, block *hclsyntax.Block) bool {
	if slices.Contains(w.arguments, block.Type) {
		r.errorAt(block.TypeRange, "An argument needs an equals sign", "%s is an argument, not a block: write %s = ...", block.Type, block.Type)
		return false
	}
	r.errorAt(block.TypeRange, "Unknown block", "There is no block %s here. %s", quoted(block.Type), w.wayOut(block.Type))
	meant := suggest(block.Type, slices.Sorted(maps.Keys(w.blocks)))
	if meant == "" {
		r.incomplete = true
		return false
	}
	block.Type = meant
	return true
}

// checkLabel reports a label that is missing or too much. Without its label a block is no use: it returns false.
func (w *words) checkLabel(r *reader, block *hclsyntax.Block) bool {
	wanted := 0
	if w.label != "" {
		wanted = 1
	}
	if len(block.Labels) < wanted {
		r.errorAt(block.TypeRange, "The label is missing", "Write it as: %s", w.shape(block.Type))
		r.incomplete = true
		return false
	}
	if len(block.Labels) > wanted {
		r.errorAt(block.LabelRanges[wanted], "One label too many", "Write it as: %s", w.shape(block.Type))
		block.Labels, block.LabelRanges = block.Labels[:wanted], block.LabelRanges[:wanted]
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

// wayOut tells what to write instead of an unknown word, or where it belongs: further in, at the top, elsewhere.
func (w *words) wayOut(name string) string {
	if meant := suggest(name, w.all()); meant != "" {
		return fmt.Sprintf("Did you mean %q?", meant)
	}
	home := w.home(name)
	if home == "" && slices.Contains(grammar.all(), name) {
		return "It belongs outside every block."
	}
	if home == "" {
		home = grammar.home(name)
	}
	if home != "" {
		return fmt.Sprintf("It belongs in: %s", home)
	}
	return "Possible here: " + strings.Join(w.all(), ", ") + "."
}

// home finds the blocks in which a word belongs, such as "relay { match { percent } }"; "" if there are none.
func (w *words) home(name string) string {
	for _, kind := range slices.Sorted(maps.Keys(w.blocks)) {
		inner := w.blocks[kind]
		place := name
		if !slices.Contains(inner.all(), name) {
			place = inner.home(name)
		}
		if place != "" {
			return fmt.Sprintf("%s { %s }", kind, place)
		}
	}
	return ""
}
