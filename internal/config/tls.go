package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// TLSFiles are the files of a certificate, in PEM; their paths are absolute or start where the gateway does.
type TLSFiles struct {
	Cert, Key string
}

// certificates reads the tls blocks of a listener. The files are read too: a certificate that cannot be used is found here,
// not when the first client comes.
func (r *reader) certificates(blocks []listenTLSSchema) (all []TLSFiles, clientCA string) {
	for i, b := range blocks {
		files, whole := r.certificateFiles(b.DefRange, b.Cert, b.Key, "edge")
		all = append(all, files)
		if whole {
			r.checkCertificate(files, b.Cert.Expr.Range(), "clients")
		}
		ca := r.path(b.ClientCA)
		if i == 0 {
			clientCA = ca
		}
		switch {
		case ca != clientCA:
			at := b.DefRange
			if b.ClientCA != nil {
				at = b.ClientCA.Expr.Range()
			}
			r.errorAt(at, "Two answers to who may come", "client_ca holds for the whole listener: write the same in each of its tls blocks, or give one of them a listener of its own.")
		case ca != "" && i == 0:
			r.checkAuthorities(ca, b.ClientCA.Expr.Range())
		}
	}
	return all, clientCA
}

// certificateFiles reads the names of a certificate's files; whole says that both are there.
func (r *reader) certificateFiles(at hcl.Range, cert, key *hcl.Attribute, example string) (files TLSFiles, whole bool) {
	if cert == nil || key == nil {
		r.errorAt(at, "Half a certificate", "TLS needs both files: cert = \"%s.crt\" and key = \"%s.key\"", example, example)
	}
	files = TLSFiles{Cert: r.path(cert), Key: r.path(key)}
	return files, files.Cert != "" && files.Key != ""
}

// checkCertificate reports files that are no certificate, and warns of one that whom it is shown to will refuse.
func (r *reader) checkCertificate(files TLSFiles, at hcl.Range, whom string) {
	chain, err := readIncluded(files.Cert, pemBytesMax)
	if err != nil {
		r.errorAt(at, "No certificate", "%s.", err)
		return
	}
	key, err := readIncluded(files.Key, pemBytesMax)
	if err != nil {
		r.errorAt(at, "No private key", "%s.", err)
		return
	}
	pair, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		r.errorAt(at, "Not a certificate and its key", "%s and %s: %s.", files.Cert, files.Key, err)
		return
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		r.warnAt(at, "The certificate has expired", "%s was good until %s: %s will refuse it. Put a new one in its place.", files.Cert, pair.Leaf.NotAfter.Format(time.DateTime), whom)
	case now.Before(pair.Leaf.NotBefore):
		r.warnAt(at, "The certificate is not good yet", "%s is good from %s: %s will refuse it until then. Is this machine's clock right?", files.Cert, pair.Leaf.NotBefore.Format(time.DateTime), whom)
	}
}

func (r *reader) checkAuthorities(file string, at hcl.Range) {
	text, err := readIncluded(file, pemBytesMax)
	if err != nil {
		r.errorAt(at, "No authorities", "%s.", err)
	} else if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		r.errorAt(at, "No authorities", "%s has no certificate in PEM.", file)
	}
}

// path reads the name of a file; a relative one starts where the configuration file is, as file("...") does.
func (r *reader) path(a *hcl.Attribute) string {
	name, ok := r.text(a)
	if !ok || name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, name)
}

const serverNameBytesMax = 253 // RFC 1035, section 2.3.4

var serverName = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// serverNames reads the names that TLS clients ask for.
func (r *reader) serverNames(a *hcl.Attribute) []string {
	items, _ := r.list(a, "*.example.com")
	names := make([]string, 0, len(items))
	for _, it := range items {
		if problem := serverNameProblem(it.text); problem != "" {
			r.errorAt(it.at, "Bad server name", "%s: %s", quoted(it.text), problem)
		}
		names = append(names, strings.ToLower(it.text))
	}
	return names
}

// serverNameProblem tells what is wrong with a name that clients shall ask for, or returns "".
func serverNameProblem(text string) string {
	name := strings.ToLower(text)
	_, rest, hasScheme := strings.Cut(name, "://")
	host, _, hasPort := strings.Cut(name, ":")
	_, notIP := netip.ParseAddr(name)
	switch {
	case name == "*":
		return "That is every name. Remove the line, to take those too that ask for none."
	case notIP == nil:
		return "Clients that connect to an address ask for no name. Use match { listen } or a listener of its own."
	case hasScheme:
		return fmt.Sprintf("A name stands alone. Did you mean %q?", strings.TrimRight(rest, "/"))
	case hasPort:
		return fmt.Sprintf("Clients do not tell the port. Did you mean %q?", host)
	case serverName.MatchString(strings.TrimSuffix(name, ".")) && strings.HasSuffix(name, "."):
		return fmt.Sprintf("Clients leave the last dot out. Did you mean %q?", strings.TrimSuffix(name, "."))
	case strings.HasPrefix(name, ".") && serverName.MatchString(name[1:]):
		return fmt.Sprintf("Did you mean %q, every name below, or %q?", "*"+name, name[1:])
	case len(name) > serverNameBytesMax || !serverName.MatchString(name):
		return "A name is made of letters, digits, \"-\" and dots, as in \"example.com\", and \"*.\" may stand in front."
	}
	return ""
}

// nameCovers reports whether a pattern takes every name that another takes.
func nameCovers(pattern, other string) bool {
	below, wild := strings.CutPrefix(pattern, "*")
	return pattern == other || wild && strings.HasSuffix(strings.TrimPrefix(other, "*"), below) && len(other) > len(below)
}

// namesCover reports whether a list of names, where empty means any or none, takes all that another takes.
func namesCover(all, some []string) bool {
	if len(all) == 0 {
		return true
	}
	return len(some) > 0 && !slices.ContainsFunc(some, func(name string) bool {
		return !slices.ContainsFunc(all, func(pattern string) bool { return nameCovers(pattern, name) })
	})
}
