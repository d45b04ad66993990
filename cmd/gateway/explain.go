package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/zmtp"
	"gateway/sniff"
)

// explainBytesMax is how much of the input is read: a long ClientHello fits, and more so a ZMTP greeting and a READY.
const explainBytesMax = 16 << 10

// explainShownMax is how much of it is printed: what the probes see.
const explainShownMax = 24

// explain says which protocol some bytes are, which block takes a connection that begins so, and why.
func explain(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("explain", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, "Usage: gateway explain [flags] BYTES | FILE | -\n\n"+
			"BYTES is hex, as `ff 00 7f` or ff007f; - reads standard input.\n\n")
		flags.PrintDefaults()
	}
	path := flags.String("config", configDefault, "the configuration `file`; without one only the protocol is told")
	from := flags.String("source", "127.0.0.1", "the client's `address`")
	listener := flags.String("listen", "", "the `name` of the listener (default: the first)")
	if err := flags.Parse(args); err != nil {
		return usageCode(err)
	}
	source, err := netip.ParseAddr(*from)
	if err != nil {
		fmt.Fprintf(stderr, "gateway explain: -source %s is not an IP address\n", *from)
		return exitUsage
	}
	prefix, err := explainInput(strings.Join(flags.Args(), " "), os.Stdin)
	if err != nil {
		fmt.Fprintf(stderr, "gateway explain: %v\n", err)
		return exitUsage
	}
	protocol := explainProtocol(stdout, prefix)
	if protocol == "" {
		return exitOK
	}
	configGiven := false
	flags.Visit(func(f *flag.Flag) { configGiven = configGiven || f.Name == "config" })
	if _, err := os.Stat(*path); errors.Is(err, fs.ErrNotExist) && !configGiven {
		fmt.Fprintf(stdout, "\nThere is no %s here, so no block is chosen.\n", *path)
		return exitOK
	}
	cfg, diags := checks.Load(*path)
	writeDiagnostics(diags, stderr)
	if diags.HasErrors() {
		return exitError
	}
	on, err := listenerNamed(cfg, *listener)
	if err != nil {
		fmt.Fprintf(stderr, "gateway explain: %v\n", err)
		return exitUsage
	}
	facts := gateway.Facts{Protocol: protocol, Listener: on.Name, Source: source}
	switch protocol {
	case sniff.ZMTP.Name:
		explainZMTP(stdout, prefix, &facts)
	case sniff.TLS.Name:
		explainTLS(stdout, prefix, &facts)
	}
	if !explainListener(stdout, on, &facts) {
		return exitOK
	}
	explainBlock(stdout, cfg, &facts)
	return exitOK
}

// explainInput takes the bytes from standard input (-), from a file of that name, or from the argument itself, as hex.
func explainInput(arg string, stdin io.Reader) ([]byte, error) {
	switch arg {
	case "":
		return nil, errors.New("which bytes? Give hex, a file, or - for standard input")
	case "-":
		return io.ReadAll(io.LimitReader(stdin, explainBytesMax))
	}
	if f, err := os.Open(arg); err == nil {
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, explainBytesMax))
	}
	digits := strings.NewReplacer(" ", "", ":", "", "0x", "", ",", "").Replace(arg)
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a file here nor hex (%v)", arg, err)
	}
	return b[:min(len(b), explainBytesMax)], nil
}

// explainProtocol prints what each probe says, and returns the protocol, "" when none is recognised.
func explainProtocol(w io.Writer, prefix []byte) (protocol string) {
	shown := prefix[:min(len(prefix), explainShownMax)]
	fmt.Fprintf(w, "%s: % x  %q\n\n", plural(len(prefix), "byte"), shown, printable(shown))
	for _, f := range sniff.Explain(sniff.All, prefix) {
		fmt.Fprintf(w, "  %-6s %s\n", f.Protocol, f.Verdict)
	}
	protocol, verdict := sniff.Classify(sniff.All, prefix)
	switch verdict {
	case sniff.Accept:
		fmt.Fprintf(w, "\nThis is %s.\n", protocol)
	case sniff.NeedMore:
		fmt.Fprint(w, "\nMore bytes are needed. A client that sends no more is closed after sniff_timeout.\n")
	default:
		fmt.Fprint(w, "\nNo protocol begins like this: the connection is closed and counted as unmatched.\n")
	}
	return protocol
}

// explainZMTP adds to f what the bytes after the signature show, as the gateway would see them step by step.
func explainZMTP(w io.Writer, b []byte, f *gateway.Facts) {
	greeting, err := zmtp.ParseGreeting(b)
	if err != nil {
		return // it ends before that, or it is ZMTP 2
	}
	f.Level, f.Mechanism = gateway.Greeted, greeting.Mechanism
	fmt.Fprintf(w, "It greets as ZMTP %d.%d, mechanism %s.\n", greeting.Major, greeting.Minor, greeting.Mechanism)
	if greeting.Mechanism != zmtp.MechanismNull {
		return
	}
	frame := b[zmtp.GreetingBytes:]
	header, size, err := zmtp.ParseFrameHeader(frame)
	if err != nil || size == 0 || header.Size > uint64(len(frame)-size) || f.Introduce(frame[size:size+int(header.Size)]) != nil {
		return
	}
	fmt.Fprintf(w, "It is a %s with identity %q.\n", f.SocketType, f.Identity)
}

// explainTLS adds to f what the ClientHello shows, if all of it is there.
func explainTLS(w io.Writer, b []byte, f *gateway.Facts) {
	name, err := sniff.ServerNameOf(b)
	switch {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		fmt.Fprintf(w, "Nobody can read its ClientHello: %v.\n", err)
		return
	case name == "":
		fmt.Fprint(w, "It asks for no name.\n")
	default:
		fmt.Fprintf(w, "It asks for the name %s.\n", name)
	}
	f.ServerName, f.NameKnown = name, true
}

// explainListener prints what the listener does before a block is chosen, and whether one is.
func explainListener(w io.Writer, l config.Listener, f *gateway.Facts) bool {
	from := fmt.Sprintf("\nFrom %s on listener %s:\n", f.Source, l.Name)
	within := func(p netip.Prefix) bool { return p.Contains(f.Source) }
	if len(l.Source) > 0 && !slices.ContainsFunc(l.Source, within) {
		fmt.Fprintf(w, "%s  the listener refuses it: the client's address is in none of its networks (source)\n", from)
		return false
	}
	fmt.Fprint(w, from)
	if l.AllProxies || slices.ContainsFunc(l.Proxies, within) {
		fmt.Fprint(w, "  a PROXY header must come first; these bytes are taken for those behind it\n")
	}
	switch ends := len(l.Certificates) > 0; {
	case ends && f.Protocol == sniff.TLS.Name:
		f.Terminated = true
	case ends:
		fmt.Fprint(w, "  TLS must come first; these bytes are taken for those inside it\n")
	}
	return true
}

func printable(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, b)
}

// listenerNamed is the listener that the user means, the first by default.
func listenerNamed(cfg *config.Config, name string) (config.Listener, error) {
	if name == "" {
		return cfg.Listeners[0], nil
	}
	var known []string
	for _, l := range cfg.Listeners {
		if l.Name == name {
			return l, nil
		}
		known = append(known, l.Name)
	}
	return config.Listener{}, fmt.Errorf("no listener is named %q; there are: %s", name, strings.Join(known, ", "))
}

// explainBlock prints which block takes the connection and why those before it do not.
func explainBlock(w io.Writer, cfg *config.Config, f *gateway.Facts) {
	choice, considered := tableOf(cfg, nil).Explain(f)
	for _, c := range considered {
		verb := "does not take it"
		if c.Fit == gateway.NeedsServerName || c.Fit == gateway.NeedsGreeting || c.Fit == gateway.NeedsIntroduction {
			verb = "may take it"
		}
		fmt.Fprintf(w, "  %s %q %s: %s\n", kindOf(cfg, c.Block), c.Block, verb, c.Why)
	}
	switch {
	case choice.Block != nil:
		for _, r := range cfg.Relays {
			if r.Name == choice.Block.Name {
				fmt.Fprintf(w, "  relay %q (%s) takes it and %s\n", r.Name, config.Place(r.Range), goesOn(r))
			}
		}
		for _, z := range cfg.ZMQs {
			if z.Name == choice.Block.Name {
				fmt.Fprintf(w, "  zmq block %q (%s) takes it and %s\n", z.Name, config.Place(z.Range), becomes(z))
			}
		}
	case choice.Server == gateway.ServerGRPC:
		fmt.Fprint(w, "  the grpc blocks take it, by the method of each call:\n")
		for _, r := range cfg.Routes {
			fmt.Fprintf(w, "    grpc %q (%s)\n", r.Pattern, config.Place(r.Range))
		}
	case choice.Server == gateway.ServerHTTP && len(cfg.SockJS) > 0:
		fmt.Fprint(w, "  the sockjs blocks take it, by the path of each request:\n")
		for _, b := range cfg.SockJS {
			fmt.Fprintf(w, "    sockjs %q (%s)\n", b.Prefix, config.Place(b.Range))
		}
	case choice.Server == gateway.ServerHTTP:
		fmt.Fprint(w, "  no block serves HTTP/1.1: it is answered with 404\n")
	case f.Terminated:
		fmt.Fprint(w, "  TLS ends here, and what is inside is told apart in turn: explain those bytes too\n")
	case f.Protocol == sniff.ZMTP.Name:
		fmt.Fprint(w, "  no other block takes it: it is held silent, within limits { held }, and counted\n")
	default:
		fmt.Fprintf(w, "  no block takes %s: the connection is closed and counted\n", f.Protocol)
	}
}

// kindOf says what kind of block has this name.
func kindOf(cfg *config.Config, name string) string {
	for _, b := range cfg.Order() {
		if b.Name == name {
			return b.Kind
		}
	}
	return "block"
}

// becomes says what a zmq block makes of messages.
func becomes(z config.ZMQ) string {
	if z.Method == "" {
		return "forwards messages as they are"
	}
	return "makes calls of " + z.Method + " of messages"
}
