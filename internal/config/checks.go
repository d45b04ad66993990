package config

import (
	"fmt"
	"os"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Checks look into the keys and files that words name, each by the code that will use them, so that what is wrong there is told
// with its place like everything else, and before anything is served. A nil one looks at nothing.
type Checks struct {
	SecretKey     func(text string) error // one CURVE secret key, or a certificate with one
	SecretKeyFile func(path string) error // a file with one, which not everyone may read
	PublicKey     func(text string) error // one CURVE public key
	PublicKeys    func(path string) error // a file of CURVE public keys
	Users         func(path string) error // a file of NAME:PASSWORD lines
	Descriptors   func(path string) error // a serialized FileDescriptorSet
}

// secretKey reads a CURVE secret key. It is empty if the word is left out, or wrong.
func (r *reader) secretKey(a *hcl.Attribute) Secret {
	text, given := r.text(a)
	switch {
	case given && text == "":
		r.errorAt(a.NameRange, "The key is empty", "An empty key protects nothing. Make one with `gateway keygen`, or remove the line.")
	case given:
		check := r.checks.SecretKey
		if path, is := r.included(a.Expr); is && r.checks.SecretKeyFile != nil {
			check = func(string) error { return r.checks.SecretKeyFile(path) }
		}
		r.checkKey(a, text, check, "Not a secret key", "`gateway keygen -out NAME` makes a new one; write "+a.Name+" = file(\"NAME_secret\").")
	}
	return Secret(text)
}

// included is the path of the file that an expression takes its text from: file("path").
func (r *reader) included(e hcl.Expression) (path string, is bool) {
	call, is := e.(*hclsyntax.FunctionCallExpr)
	if !is || call.Name != "file" || len(call.Args) != 1 {
		return "", false
	}
	name, diags := call.Args[0].Value(r.eval)
	if diags.HasErrors() || name.Type() != cty.String || !name.IsKnown() || name.IsNull() {
		return "", false
	}
	return beside(r.dir, name.AsString()), true
}

// publicKey reads a CURVE public key.
func (r *reader) publicKey(a *hcl.Attribute) string {
	text, given := r.text(a)
	if given {
		r.checkKey(a, text, r.checks.PublicKey, "Not a public key", "It is the 40 characters behind public-key in the file that `gateway keygen -out NAME` writes.")
	}
	return text
}

func (r *reader) checkKey(a *hcl.Attribute, text string, check func(string) error, summary, wayOut string) {
	if check == nil {
		return
	}
	if err := check(text); err != nil {
		r.errorAt(a.Expr.Range(), summary, "%s: %s. %s", a.Name, err, wayOut)
	}
}

// checkedPath reads the name of a file that check looks into.
func (r *reader) checkedPath(a *hcl.Attribute, check func(path string) error) string {
	path := r.path(a)
	r.note(path)
	if path == "" || check == nil {
		return path
	}
	_, err := os.Stat(path)
	if err = missing(path, err); err == nil {
		err = check(path)
	}
	if err != nil {
		r.errorAt(a.Expr.Range(), "A file that cannot be used", "%s: %s.", a.Name, err)
	}
	return path
}

// note remembers how a file stands. One that is not there is told elsewhere.
func (r *reader) note(path string) {
	if info, err := os.Stat(path); err == nil {
		r.files = append(r.files, File{path, info.Size(), info.ModTime()})
	}
}

// folder reads the name of a folder.
func (r *reader) folder(a *hcl.Attribute) string {
	path := r.path(a)
	if path == "" {
		return path
	}
	info, err := os.Stat(path)
	if err = missing(path, err); err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", path)
	}
	if err != nil {
		r.errorAt(a.Expr.Range(), "A folder that cannot be used", "%s: %s.", a.Name, err)
	}
	return path
}
