// Package tidy holds no code but tests: they keep the import rules of ARCHITECTURE.md and the house style.
//
// Each rule names the file and the line where it is broken. A rule has exceptions only where a list in this package
// names the exception and its reason.
package tidy
