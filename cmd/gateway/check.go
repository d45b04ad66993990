package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"gateway/internal/config"
)

// Widths of diagnostics, in columns.
const (
	plainColumns       = 100 // to a file or a pipe
	terminalColumnsMin = 40
)

// check is `gateway check`: it says whether a configuration could be served, and if not, what to change.
func check(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := flags.String("config", configDefault, "the configuration `file` to check")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	cfg, diags := checks.Load(*path)
	writeDiagnostics(diags, stderr)
	if diags.HasErrors() {
		return exitError
	}
	fmt.Fprintf(stdout, "%s is right: %s\n", *path, summary(cfg))
	return exitOK
}

// parseFlags parses the flags of a subcommand that takes no other arguments. If stop is true the subcommand ends
// with the code: help was asked for, or the usage was wrong.
func parseFlags(flags *flag.FlagSet, args []string, stderr io.Writer) (code int, stop bool) {
	flags.SetOutput(stderr)
	if err := flags.Parse(args); err != nil {
		return usageCode(err), true
	}
	if flags.NArg() > 0 {
		hint := ""
		for _, name := range []string{"config", "worker", "out"} { // what a subcommand is mostly given
			if flags.Lookup(name) != nil {
				hint = fmt.Sprintf("; did you mean -%s %s?", name, flags.Arg(0))
				break
			}
		}
		fmt.Fprintf(stderr, "gateway %s: it takes flags alone, not %q%s\n", flags.Name(), flags.Arg(0), hint)
		return exitUsage, true
	}
	return exitOK, false
}

// writeDiagnostics prints for a person: as wide as the terminal and in colour, or plain for a file.
func writeDiagnostics(diags config.Diagnostics, w io.Writer) {
	width, color := plainColumns, false
	if f, isFile := w.(*os.File); isFile && term.IsTerminal(int(f.Fd())) {
		color = os.Getenv("NO_COLOR") == ""
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = max(columns, terminalColumnsMin)
		}
	}
	// Nothing is left to tell a person whose terminal cannot be written to; the exit code says the rest.
	_ = diags.Write(w, width, color)
}

// summary says in one line what a configuration does.
func summary(cfg *config.Config) string {
	addrs := make([]string, len(cfg.Listeners))
	for i, l := range cfg.Listeners {
		addrs[i] = l.Addr
	}
	parts := []string{"listens on " + strings.Join(addrs, ", ")}
	for _, part := range []struct {
		count int
		name  string
	}{{len(cfg.Relays), "relay"}, {len(cfg.ZMQs), "zmq block"}, {len(cfg.Routes), "grpc route"}, {len(cfg.SockJS), "sockjs block"}, {len(cfg.Backends), "backend"}} {
		if part.count > 0 {
			parts = append(parts, plural(part.count, part.name))
		}
	}
	if cfg.Admin != nil {
		parts = append(parts, "admin on "+cfg.Admin.Addr)
	}
	return strings.Join(parts, "; ")
}

// plural counts things: 1 relay, 2 relays.
func plural(count int, name string) string {
	if count == 1 {
		return "1 " + name
	}
	return fmt.Sprintf("%d %ss", count, name)
}
