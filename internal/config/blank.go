package config

import (
	"bytes"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// secretWords are the arguments whose literal text no diagnostic may quote.
var secretWords = []string{"token", "curve_secret_key"}

// blanked returns source for quoting in diagnostics: every byte in its place, but the text of secrets as asterisks. It
// goes by tokens, not by the tree, since a file with a syntax error is quoted too.
func blanked(src []byte, tokens hclsyntax.Tokens) []byte {
	shown := bytes.Clone(src)
	for i, token := range tokens {
		if token.Type == hclsyntax.TokenIdent && maybeSecret(string(token.Bytes)) && i+1 < len(tokens) && isSetter(tokens[i+1]) {
			blankValue(shown, tokens[i+2:])
		}
	}
	return shown
}

// isSetter reports whether a token stands between a word and its value, by the rules or by mistake.
func isSetter(token hclsyntax.Token) bool {
	return token.Type == hclsyntax.TokenEqual || token.Type == hclsyntax.TokenColon || token.Type == hclsyntax.TokenEqualOp
}

// maybeSecret reports whether a word is a secret one or a misspelling of one.
func maybeSecret(word string) bool {
	for _, secret := range secretWords {
		if levenshtein.Distance(word, secret, nil) <= typosMax {
			return true
		}
	}
	return false
}

// blankValue overwrites the literal text of the value that the tokens begin with. The arguments of functions stay:
// the name of a file or a variable is no secret, and the message about it needs it.
func blankValue(shown []byte, value hclsyntax.Tokens) {
	depth := 0
	for _, token := range value {
		switch token.Type {
		case hclsyntax.TokenOParen:
			depth++
		case hclsyntax.TokenCParen:
			depth--
		case hclsyntax.TokenNewline, hclsyntax.TokenCBrace, hclsyntax.TokenEOF:
			if depth <= 0 {
				return
			}
		case hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit, hclsyntax.TokenInvalid:
			if depth <= 0 {
				blankBytes(shown[token.Range.Start.Byte:token.Range.End.Byte])
			}
		}
	}
}

// blankBytes keeps line breaks, so that the lines of the source stay where they are.
func blankBytes(text []byte) {
	for i, b := range text {
		if b != '\n' {
			text[i] = '*'
		}
	}
}
