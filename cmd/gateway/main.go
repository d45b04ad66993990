// Gateway takes ZeroMQ, gRPC and browser traffic on one exposed TCP port and hands each connection to where it belongs.
//
// One file a subcommand; run is main without the process around it, so that tests can call it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (make build).
var version = ""

// configDefault is the file that commands read when no -config names another.
const configDefault = "gateway.hcl"

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // it did not work
	exitUsage = 2 // the command line makes no sense
)

// command is one subcommand.
type command struct {
	name  string
	about string
	run   func(args []string, stdout, stderr io.Writer) int
}

// commands in the order in which help lists them.
func commands() []command {
	return []command{
		{"serve", "run the gateway with a configuration file", serve},
		{"upgrade", "have the running gateway hand over to a new process, refusing nobody", upgradeCommand},
		{"check", "say whether a configuration file is right, and what is wrong", check},
		{"fmt", "format configuration files", format},
		{"explain", "say which protocol some bytes are, which block takes them, and why", explain},
		{"status", "show how a running gateway stands, as tables", showStatus},
		{"migration", "say who still speaks ZeroMQ to a running gateway, and where messages go", migration},
		{"probe", "say what answers at an address: ZMTP, gRPC, HTTP, TLS, SSH", probe},
		{"keygen", "make a CURVE key pair", keygen},
		{"agent", "keep slots at a gateway's workers' door for a worker that binds", agentCommand},
		{"demo", "run a gateway with ZeroMQ and gRPC peers in one process", demo},
		{"sockjs", "carry browsers' messages to ZeroMQ programs, by sockjsproxy's command line", sockJS},
		{"version", "print the version", printVersion},
	}
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	name := args[0]
	switch name {
	case "help", "-h", "-help", "--help":
		usage(stdout)
		return exitOK
	case "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(args[1:], stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "gateway: there is no command %q\n\n", name)
	usage(stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "gateway takes ZeroMQ, gRPC and browser traffic on one port.\n\nUsage: gateway COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, "\nStart with: gateway demo. The flags of a command: gateway COMMAND -h.\n")
}

func printVersion(_ []string, stdout, _ io.Writer) int {
	fmt.Fprintf(stdout, "gateway %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// usageCode is the exit code after flags could not be parsed; asking for help is no error.
func usageCode(err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	return exitUsage
}
