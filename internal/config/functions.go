package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

const (
	includedBytesMax = 64 << 10 // of what file("...") reads: a key, a token, a certificate
	pemBytesMax      = 1 << 20  // of a certificate with its chain, or a bundle of authorities
)

// envFunction is env("NAME"): the value of an environment variable that must be set.
var envFunction = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "name", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		name := args[0].AsString()
		value, set := os.LookupEnv(name)
		if !set {
			return cty.NilVal, fmt.Errorf("the environment variable %s is not set: export it before the gateway starts", name)
		}
		return cty.StringVal(value), nil
	},
})

// fileFunction is file("path"): a file's text without white space around it. A relative path starts at dir.
func fileFunction(dir string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := readIncluded(beside(dir, args[0].AsString()), includedBytesMax)
			if err != nil {
				return cty.NilVal, err
			}
			return cty.StringVal(strings.TrimSpace(text)), nil
		},
	})
}

// beside is path, which starts at dir if it is relative.
func beside(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// readIncluded reads a regular file of at most limit bytes: a pipe or a device could keep the gateway waiting for ever.
func readIncluded(path string, limit int64) (string, error) {
	info, err := os.Stat(path)
	if err := missing(path, err); err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	content, err := readBounded(path, limit)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", path, err)
	}
	return string(content), nil
}

// missing words the error of looking for a path; nil stays nil.
func missing(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s; a relative path starts where the configuration file is", path)
	case err != nil:
		return fmt.Errorf("cannot look at %s: %w", path, err)
	}
	return nil
}
