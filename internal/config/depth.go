package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The parser recurses, and a stack that overflows ends the process: a reload must survive 256 KiB of "[". Real files
// nest three deep and have no operators at all.
const (
	depthMax     = 50  // brackets, quotes and templates open at the same time
	operatorsMax = 500 // in one file: each may add a level, as "!" does

	nestedTooDeep = "Nested too deep"
)

// checkDepth reports what is nested too deep to be parsed.
func checkDepth(tokens hclsyntax.Tokens) hcl.Diagnostics {
	depth, operators := 0, 0
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			depth = max(depth-1, 0)
		case hclsyntax.TokenTemplateControl:
			depth++
			operators++
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
			hclsyntax.TokenQuestion, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual,
			hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq:
			operators++
		}
		if depth > depthMax || operators > operatorsMax {
			return hcl.Diagnostics{{
				Severity: hcl.DiagError,
				Summary:  nestedTooDeep,
				Detail:   "No configuration needs as many brackets or operators as there are up to here. Is this the right file?",
				Subject:  token.Range.Ptr(),
			}}
		}
	}
	return nil
}
