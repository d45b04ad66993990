package config

import "github.com/hashicorp/hcl/v2/hclwrite"

// Format returns source with its spacing and alignment as HCL has them: only white space changes. Source that cannot
// be parsed is an error and comes back as nil.
func Format(filename string, src []byte) ([]byte, Diagnostics) {
	_, diags := parseSyntax(filename, src)
	if diags.HasErrors() {
		return nil, diags
	}
	return hclwrite.Format(src), diags
}
