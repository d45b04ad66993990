package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// CallRules are what a grpc block says of its calls beyond where they go.
type CallRules struct {
	Metadata       map[string]string // what a call must carry: a value, "prefix*", or "*" for any; empty: nothing
	WaitForReady   bool
	Rate           int // calls a second; 0: left out
	MaxConcurrent  int // calls in flight; 0: left out
	SetMetadata    map[string]string
	RemoveMetadata []string
	Retry          *Retry // nil: only what no backend has seen is tried again
	Mirrors        []Mirror
}

// Retry says which failures are tried again.
type Retry struct {
	Attempts int           // the first included; 2 or more
	On       []uint32      // status codes; empty: left out
	Budget   float64       // share of the calls in flight; 0: left out
	Backoff  time.Duration // before the first; 0: left out
}

// Mirror is a backend that gets copies of calls.
type Mirror struct {
	Backend     string
	Percent     float64 // above 0, to 100; 100 when left out
	Compare     string  // "bytes", "proto"; empty: nothing is compared
	Ignore      []string
	Descriptors string // path of a FileDescriptorSet; empty: reflection
	Samples     int    // of differing answers, in /status
	Range       hcl.Range
}

// BackendTLS are the files by which the gateway and a backend know each other; each may be empty.
type BackendTLS struct{ CA, Cert, Key string }

const (
	callRateMax       = 10_000_000
	callConcurrentMax = 10_000_000
	retryAttemptsMax  = 10
	samplesMax        = 10
	mirrorsMax        = 4
)

// metadataName is a name of gRPC over HTTP2's Custom-Metadata.
var metadataName = regexp.MustCompile(`^[a-z0-9_.-]+$`)

// grpcCodes are the names of status codes, by number.
var grpcCodes = []string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
	"UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// callRules reads them.
func (r *reader) callRules(b grpcSchema, known []string) CallRules {
	rules := CallRules{WaitForReady: r.flag(b.WaitForReady), SetMetadata: r.metadata(b.SetMetadata), Retry: r.retry(b.Retry)}
	rules.Rate, _ = r.count(b.Rate, 1, callRateMax)
	rules.MaxConcurrent, _ = r.count(b.MaxConcurrent, 1, callConcurrentMax)
	if b.Match != nil {
		if b.Match.Metadata == nil {
			r.errorAt(b.Match.DefRange, "A match that asks nothing", "Say what a call must carry, as in metadata = { \"x-tenant\" = \"blue\" }, or remove the block.")
		}
		rules.Metadata = r.metadata(b.Match.Metadata)
	}
	if items, ok := r.list(b.RemoveMetadata, "x-internal"); ok {
		for _, it := range items {
			r.checkMetadataName(it.text, it.at)
			rules.RemoveMetadata = append(rules.RemoveMetadata, it.text)
		}
	}
	rules.Mirrors = r.mirrors(b.Mirror, known)
	return rules
}

// mirrors reads the mirrors of a block.
func (r *reader) mirrors(blocks []mirrorSchema, known []string) (all []Mirror) {
	for i, m := range blocks {
		if i == mirrorsMax {
			r.errorAt(m.BackendRange, "Too many mirrors", "A block has %d at most.", mirrorsMax)
		}
		all = append(all, r.mirror(m, known))
	}
	return all
}

// metadata reads names and values.
func (r *reader) metadata(a *hcl.Attribute) map[string]string {
	if a == nil {
		return nil
	}
	example := fmt.Sprintf("%s is written %s = { \"x-tenant\" = \"blue\" }.", a.Name, a.Name)
	object, isObject := a.Expr.(*hclsyntax.ObjectConsExpr)
	if !isObject || len(object.Items) == 0 {
		r.errorAt(a.Expr.Range(), "Names and values are needed", "%s", example)
		return nil
	}
	all := make(map[string]string, len(object.Items))
	for _, it := range object.Items {
		name, okName := r.value(it.KeyExpr, cty.String, example)
		value, okValue := r.value(it.ValueExpr, cty.String, example)
		if !okName || !okValue {
			continue
		}
		r.checkMetadataName(name.AsString(), it.KeyExpr.Range())
		if _, twice := all[name.AsString()]; twice {
			r.errorAt(it.KeyExpr.Range(), "Duplicate name", "%s stands in %s twice.", quoted(name.AsString()), a.Name)
		}
		all[name.AsString()] = value.AsString()
	}
	return all
}

func (r *reader) checkMetadataName(name string, at hcl.Range) {
	switch {
	case !metadataName.MatchString(name):
		r.errorAt(at, "Bad metadata name", "%s: a name has lower-case letters, digits, \"-\", \"_\" and \".\", as in \"x-tenant\".", quoted(name))
	case strings.HasPrefix(name, "grpc-") || name == "te" || name == "content-type":
		r.errorAt(at, "Bad metadata name", "%s belongs to the protocol itself.", quoted(name))
	}
}

// sameMatch reports whether two grpc blocks of one pattern ask for the same; how it is written does not matter.
func sameMatch(a, b *callMatchSchema) bool {
	text := func(m *callMatchSchema) string {
		if m == nil || m.Metadata == nil {
			return ""
		}
		v, _ := m.Metadata.Expr.Value(nil) // what is wrong with it is reported where it is read
		return v.GoString()
	}
	return text(a) == text(b)
}

func (r *reader) retry(b *retrySchema) *Retry {
	if b == nil {
		return nil
	}
	if b.Attempts == nil {
		r.errorAt(b.DefRange, "How often?", "Say how often a call is tried, the first time included: attempts = 3")
	}
	retry := &Retry{Backoff: r.duration(b.Backoff, 0)}
	retry.Attempts, _ = r.count(b.Attempts, 2, retryAttemptsMax)
	if n, ok := r.number(b.Budget, 0, 1); ok {
		retry.Budget, _ = n.Float64()
		if retry.Budget == 0 {
			r.errorAt(b.Budget.Expr.Range(), "No budget", "budget is the share of calls in flight that may be retries, above 0. To have none, remove the retry block.")
		}
	}
	items, _ := r.list(b.On, "UNAVAILABLE")
	for _, it := range items {
		code := slices.Index(grpcCodes, it.text)
		if code < 1 {
			r.errorAt(it.at, "Unknown status code", "No failure is called %s. %s", quoted(it.text), choose(it.text, grpcCodes[1:]))
			continue
		}
		retry.On = append(retry.On, uint32(code))
	}
	return retry
}

func (r *reader) mirror(b mirrorSchema, known []string) Mirror {
	m := Mirror{Backend: b.Backend, Percent: 100, Range: b.BackendRange, Descriptors: r.checkedPath(b.Descriptors, r.checks.Descriptors)}
	if !slices.Contains(known, b.Backend) && !r.incomplete {
		r.unknownBackend(b.BackendRange, b.Backend, known)
	}
	if n, ok := r.number(b.Percent, 0, 100); ok {
		if m.Percent, _ = n.Float64(); m.Percent == 0 {
			r.errorAt(b.Percent.Expr.Range(), "A mirror that gets nothing", "percent goes from above 0 to 100. To send no copies, remove the mirror block.")
		}
	}
	m.Compare = oneOf(r, b.Compare, "", "bytes", "proto")
	m.Samples, _ = r.count(b.Samples, 1, samplesMax)
	items, _ := r.list(b.Ignore, "served_by")
	for _, it := range items {
		m.Ignore = append(m.Ignore, it.text)
	}
	for _, a := range []*hcl.Attribute{b.Ignore, b.Descriptors} {
		if a != nil && m.Compare != "proto" {
			r.errorAt(a.NameRange, "A word without its comparison", "%s is for compare = \"proto\". Add that, or remove this line.", a.Name)
		}
	}
	if b.Samples != nil && m.Compare == "" {
		r.errorAt(b.Samples.NameRange, "Samples of what?", "Nothing is compared. Add compare = \"bytes\" or \"proto\", or remove this line.")
	}
	return m
}

func (r *reader) hashKey(b backendSchema, balance Balance) string {
	key, given := r.text(b.HashKey)
	switch {
	case given && balance != RingHash:
		r.errorAt(b.HashKey.NameRange, "A key for nothing", "hash_key is for balance = \"ring_hash\". Add that, or remove this line.")
	case given:
		r.checkMetadataName(key, b.HashKey.Expr.Range())
	case balance == RingHash && b.HashKey == nil:
		r.errorAt(b.Balance.NameRange, "What is hashed?", "ring_hash goes by the value of a metadata key: hash_key = \"x-user\"")
	}
	return key
}

// backendTLS reads the names of files; nil without the block.
func (r *reader) backendTLS(b *backendTLSSchema) *BackendTLS {
	if b == nil {
		return nil
	}
	if (b.Cert == nil) != (b.Key == nil) {
		r.errorAt(b.DefRange, "Half a certificate", "To show a certificate the gateway needs both: cert = %s and key = %s", strconv.Quote("gateway.crt"), strconv.Quote("gateway.key"))
	}
	files := &BackendTLS{CA: r.path(b.CA), Cert: r.path(b.Cert), Key: r.path(b.Key)}
	for _, path := range []string{files.CA, files.Cert, files.Key} {
		r.note(path)
	}
	if files.CA != "" {
		r.checkAuthorities(files.CA, b.CA.Expr.Range())
	}
	if files.Cert != "" && files.Key != "" {
		r.checkCertificate(TLSFiles{files.Cert, files.Key}, b.Cert.Expr.Range(), "backends")
	}
	return files
}
