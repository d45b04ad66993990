package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// advised says in this language's words what the parser says of a file that it cannot read. The parser tells its problems apart
// by their summaries alone; one that it words anew is passed on as it is, and a test with the whole text of each fails.
func advised(problems hcl.Diagnostics, tokens hclsyntax.Tokens) hcl.Diagnostics {
	for _, problem := range problems {
		switch problem.Summary {
		case "Unclosed configuration block":
			problem.Detail = "The file ends before the brace that closes this block."
			if open, shut := misplacedBrace(tokens); open > 0 {
				problem.Detail = fmt.Sprintf("The file ends before the brace that closes this block. By its indentation, the brace of line %d is meant for it, but it closes the block of line %d, which has none of its own.", shut, open)
			}
		case "Argument or block definition required":
			adviseLine(problem, tokens)
		case "Invalid multi-line string":
			problem.Summary = "The closing quote is missing"
			problem.Detail = "The text that begins in this line does not end in it."
		case "Missing item separator":
			problem.Detail = "A comma stands between two items of a list, each text in quotes, and a bracket ] behind the last: [\"a\", \"b\"]."
		}
	}
	return problems
}

// adviseLine rewords the problem of a line that is neither an argument nor a block.
func adviseLine(problem *hcl.Diagnostic, tokens hclsyntax.Tokens) {
	if problem.Subject == nil {
		return
	}
	first, found := slices.BinarySearchFunc(tokens, problem.Subject.Start.Line, func(t hclsyntax.Token, line int) int {
		return cmp.Compare(t.Range.Start.Line, line)
	})
	if !found {
		return
	}
	token := tokens[first]
	switch word := string(token.Bytes); {
	case token.Type == hclsyntax.TokenCBrace:
		problem.Summary = "A brace too many"
		problem.Detail = "This brace closes nothing. Remove it, or the one that closes its block too early."
	case token.Type != hclsyntax.TokenIdent:
	case grammar.blocks[word] != nil:
		problem.Detail = fmt.Sprintf("Write it as: %s", grammar.blocks[word].shape(word))
	case grammar.knows(word):
		problem.Detail = fmt.Sprintf("Write it as: %s = ...", word)
	}
}

// knows tells whether a word is an argument here or further in.
func (w *words) knows(argument string) bool {
	return slices.Contains(w.arguments, argument) ||
		slices.ContainsFunc(slices.Collect(maps.Values(w.blocks)), func(inner *words) bool { return inner.knows(argument) })
}

// misplacedBrace is the line of a closing brace that begins its line elsewhere than the line begins that it closes, and that
// line; 0 if all stand where they belong.
func misplacedBrace(tokens hclsyntax.Tokens) (open, shut int) {
	type place struct{ line, column int }
	var opened []place
	var line place // the one at hand, and where it begins
	for _, token := range tokens {
		start := place{token.Range.Start.Line, token.Range.Start.Column}
		if start.line != line.line {
			line = start
		}
		switch token.Type {
		case hclsyntax.TokenOBrace:
			opened = append(opened, line)
		case hclsyntax.TokenCBrace:
			if len(opened) == 0 {
				return 0, 0
			}
			of := opened[len(opened)-1]
			opened = opened[:len(opened)-1]
			if start == line && of.line != line.line && of.column != line.column {
				return of.line, line.line
			}
		}
	}
	return 0, 0
}
