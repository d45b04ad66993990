package config

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// reader evaluates the words of one file and collects what is wrong with them. A method that reads a word returns
// its default (or zero) if the word is left out or wrong; being wrong was reported by then.
type reader struct {
	eval  *hcl.EvalContext
	dir   string // of the configuration file
	diags hcl.Diagnostics

	checks Checks
	files  []File // that were named

	// incomplete says that a block had to be left out, unknown or without its label: what seems to be missing may
	// stand in it, and is not reported.
	incomplete bool
}

// item is one text of a list, with its place.
type item struct {
	text string
	at   hcl.Range
}

func (r *reader) errorAt(at hcl.Range, summary, detail string, args ...any) {
	r.report(hcl.DiagError, at, summary, fmt.Sprintf(detail, args...))
}

func (r *reader) warnAt(at hcl.Range, summary, detail string, args ...any) {
	r.report(hcl.DiagWarning, at, summary, fmt.Sprintf(detail, args...))
}

func (r *reader) report(severity hcl.DiagnosticSeverity, at hcl.Range, summary, detail string) {
	r.diags = append(r.diags, &hcl.Diagnostic{Severity: severity, Summary: summary, Detail: detail, Subject: &at})
}

// value evaluates an expression to a value of the wanted type; hint says how to write one.
func (r *reader) value(expr hcl.Expression, want cty.Type, hint string) (cty.Value, bool) {
	if !r.checkExpression(expr) {
		return cty.NilVal, false
	}
	v, diags := expr.Value(r.eval)
	if diags.HasErrors() {
		r.diags = append(r.diags, diags...)
		return cty.NilVal, false
	}
	if v.IsNull() || !v.IsKnown() || v.Type() != want {
		r.errorAt(expr.Range(), "Wrong type of value", "%s", hint)
		return cty.NilVal, false
	}
	return v, true
}

// checkExpression reports what no expression of the language contains: variables, mostly text without its quotes, and
// unknown functions.
func (r *reader) checkExpression(expr hcl.Expression) bool {
	vars := expr.Variables()
	for _, v := range vars {
		if len(v) == 1 && v.SourceRange() == expr.Range() {
			r.errorAt(v.SourceRange(), "Quotes are missing", "Text stands in quotes: %q.", v.RootName())
		} else {
			r.errorAt(v.SourceRange(), "There are no variables", "Write the value itself, or read it from the environment: env(\"NAME\").")
		}
	}
	right := len(vars) == 0
	functions := slices.Sorted(maps.Keys(r.eval.Functions))
	_ = hclsyntax.VisitAll(expr.(hclsyntax.Node), func(node hclsyntax.Node) hcl.Diagnostics {
		call, isCall := node.(*hclsyntax.FunctionCallExpr)
		if isCall && !slices.Contains(functions, call.Name) {
			r.errorAt(call.NameRange, "Unknown function", "There is no function %s. %s", quoted(call.Name), choose(call.Name, functions))
			right = false
		}
		return nil
	})
	return right
}

// text reads a word that is text in quotes.
func (r *reader) text(a *hcl.Attribute) (string, bool) {
	if a == nil {
		return "", false
	}
	hint := fmt.Sprintf("%s is text in quotes.", a.Name)
	v, ok := r.value(a.Expr, cty.String, hint)
	if !ok {
		return "", false
	}
	return v.AsString(), true
}

// number reads a word that is a number in [low, high].
func (r *reader) number(a *hcl.Attribute, low, high int64) (*big.Float, bool) {
	if a == nil {
		return nil, false
	}
	hint := fmt.Sprintf("%s is a number without quotes, from %d to %d.", a.Name, low, high)
	v, ok := r.value(a.Expr, cty.Number, hint)
	if !ok {
		return nil, false
	}
	n := v.AsBigFloat()
	if n.Cmp(new(big.Float).SetInt64(low)) < 0 || n.Cmp(new(big.Float).SetInt64(high)) > 0 {
		r.errorAt(a.Expr.Range(), "Number out of range", "%s goes from %d to %d.", a.Name, low, high)
		return nil, false
	}
	return n, true
}

// count reads a whole number in [low, high].
func (r *reader) count(a *hcl.Attribute, low, high int64) (int, bool) {
	n, ok := r.number(a, low, high)
	if !ok {
		return 0, false
	}
	if !n.IsInt() {
		r.errorAt(a.Expr.Range(), "Not a whole number", "%s counts whole things: write it without a fraction.", a.Name)
		return 0, false
	}
	whole, _ := n.Int64()
	return int(whole), true
}

// list reads a list of texts. Example shows one in messages.
func (r *reader) list(a *hcl.Attribute, example string) ([]item, bool) {
	if a == nil {
		return nil, false
	}
	exprs, diags := hcl.ExprList(a.Expr)
	if _, isTuple := a.Expr.(*hclsyntax.TupleConsExpr); diags.HasErrors() || !isTuple {
		r.errorAt(a.Expr.Range(), "A list is needed", "%s is a list, even of one: %s = [%q].", a.Name, a.Name, example)
		return nil, false
	}
	if len(exprs) == 0 {
		r.errorAt(a.Expr.Range(), "The list is empty", "Fill it, as in %s = [%q], or remove the line.", a.Name, example)
		return nil, false
	}
	items, all := make([]item, 0, len(exprs)), true
	for _, expr := range exprs {
		v, ok := r.value(expr, cty.String, fmt.Sprintf("%s is a list of texts, each in quotes: %s = [%q].", a.Name, a.Name, example))
		if !ok {
			all = false
			continue
		}
		items = append(items, item{text: v.AsString(), at: expr.Range()})
	}
	return items, all
}

// oneOf reads a word of a fixed set.
func oneOf[T ~string](r *reader, a *hcl.Attribute, otherwise T, known ...T) T {
	text, ok := r.text(a)
	if !ok {
		return otherwise
	}
	words := make([]string, len(known))
	for i, word := range known {
		if string(word) == text {
			return word
		}
		words[i] = string(word)
	}
	r.errorAt(a.Expr.Range(), fmt.Sprintf("Unknown %s", a.Name), "%s has no value %s. %s", a.Name, quoted(text), choose(text, words))
	return otherwise
}
