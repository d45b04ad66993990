package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"
)

const (
	fileBytesMax = 256 << 10 // of a configuration file

	// drainTimeoutDefault is long enough for calls, and shorter than a supervisor waits (systemd: 90 s).
	drainTimeoutDefault = 30 * time.Second
)

// Load reads and checks the configuration at path, but for what only Checks look into. The Config is nil if the diagnostics
// have errors.
func Load(path string) (*Config, Diagnostics) { return Checks{}.Load(path) }

// Parse checks a configuration held in memory, as Load does. The file name stands in diagnostics, and file("x") looks beside it.
func Parse(filename string, src []byte) (*Config, Diagnostics) { return Checks{}.Parse(filename, src) }

// Load reads and checks the configuration at path, and the keys and files that it names.
func (c Checks) Load(path string) (*Config, Diagnostics) {
	src, diags := ReadFile(path)
	if diags.HasErrors() {
		return nil, diags
	}
	return c.Parse(path, src)
}

// Parse checks a configuration held in memory, and the keys and files that it names.
func (c Checks) Parse(filename string, src []byte) (*Config, Diagnostics) {
	body, diags := parseSyntax(filename, src)
	if diags.HasErrors() {
		return nil, diags
	}
	r := &reader{dir: filepath.Dir(filename), checks: c, eval: &hcl.EvalContext{Functions: map[string]function.Function{
		"env":  envFunction,
		"file": fileFunction(filepath.Dir(filename)),
	}}}
	if len(body.Attributes) == 0 && len(body.Blocks) == 0 {
		r.errorAt(body.EndRange, "Nothing is configured here", "%s is empty. The least that works is a listen block and a relay; `gateway demo` needs no file.", filename)
		diags.add(r.diags)
		return nil, diags
	}
	grammar.check(r, body)
	var file fileSchema
	r.diags = append(r.diags, gohcl.DecodeBody(body, r.eval, &file)...)
	cfg := r.config(&file, body.EndRange)
	diags.add(r.diags)
	if diags.HasErrors() {
		return nil, diags
	}
	return cfg, diags
}

// ReadFile reads a configuration file, with diagnostics that say what to do if it is not there.
func ReadFile(path string) ([]byte, Diagnostics) {
	src, err := readBounded(path, fileBytesMax)
	if err == nil {
		return src, Diagnostics{}
	}
	problem := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf("Cannot read %s", path), Detail: err.Error()}
	if errors.Is(err, fs.ErrNotExist) {
		problem.Summary = fmt.Sprintf("There is no %s here", path)
		problem.Detail = "Write one, or name another file with -config. `gateway demo` needs none."
	}
	return nil, Diagnostics{Diagnostics: hcl.Diagnostics{problem}}
}

// readBounded reads a whole file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s is larger than %d KiB", path, limit>>10)
	}
	return content, nil
}

// parseSyntax turns source into a tree. Its diagnostics can quote the source.
func parseSyntax(filename string, src []byte) (*hclsyntax.Body, Diagnostics) {
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	shown := blanked(src, tokens)
	diags := Diagnostics{files: map[string]*hcl.File{filename: {Bytes: shown}}}
	if diags.add(checkDepth(tokens)); diags.HasErrors() {
		return nil, diags
	}
	file, problems := hclparse.NewParser().ParseHCL(src, filename)
	diags.files[filename] = &hcl.File{Body: file.Body, Bytes: shown, Nav: file.Nav}
	if diags.add(advised(withoutEchoes(problems), tokens)); diags.HasErrors() {
		return nil, diags
	}
	return file.Body.(*hclsyntax.Body), diags
}

// withoutEchoes keeps of several syntax errors in the same lines the first: the others mostly follow from it.
func withoutEchoes(problems hcl.Diagnostics) hcl.Diagnostics {
	var kept hcl.Diagnostics
	quietUntil := 0 // line
	for _, problem := range problems {
		if problem.Subject == nil || problem.Subject.Start.Line > quietUntil {
			kept = append(kept, problem)
		}
		if problem.Subject != nil {
			quietUntil = max(quietUntil, problem.Subject.End.Line)
		}
	}
	return kept
}

// config turns the decoded file into plain values and checks it as a whole. end is the place for what is missing.
func (r *reader) config(file *fileSchema, end hcl.Range) *Config {
	listeners := r.listeners(file.Listen, end)
	backends := r.backends(file.Backend)
	cfg := &Config{
		Listeners:    listeners,
		Backends:     backends,
		Relays:       r.relays(file.Relay, listeners),
		ZMQs:         r.zmqs(file.ZMQ, file.Relay, listeners, backends),
		Routes:       r.routes(file.GRPC, file.Backend),
		SockJS:       r.sockets(file.SockJS),
		Limits:       r.limits(file.Limits),
		Meter:        r.meter(file.Meter),
		Admin:        r.admin(file.Admin),
		Telemetry:    r.telemetry(file.Telemetry),
		Log:          r.log(file.Log),
		DrainTimeout: r.duration(file.DrainTimeout, drainTimeoutDefault),
	}
	cfg.Files = r.files
	r.checkAddresses(cfg)
	r.checkBound(cfg)
	if !r.diags.HasErrors() {
		r.checkUse(cfg)
		r.checkReach(cfg)
	}
	return cfg
}
