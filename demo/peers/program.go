package peers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes of the programs, which are the gateway's.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Program is one of the programs below this folder: what its main hands to Main.
type Program struct {
	Name  string // as it is called
	About string // what it does, for -h
	Hint  string // what to do when it cannot reach or open its address
	// Setup declares flags and returns what to run once they are read.
	Setup func(flags *flag.FlagSet) (run func(ctx context.Context, report Report) error)
}

// Main runs p as a process: it reads the flags, prints a line for each event, stops on INT, TERM and HUP (a closed
// terminal), and returns the exit code.
func Main(p Program) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return p.run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

func (p Program) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "%s: %s\n\n", p.Name, p.About)
		flags.PrintDefaults()
	}
	run := p.Setup(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: %q is no flag; %s -h lists them\n", p.Name, flags.Arg(0), p.Name)
		return exitUsage
	}
	err := run(ctx, Print(stdout))
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
	if errors.Is(err, ErrUnreachable) || errors.Is(err, syscall.EADDRINUSE) {
		fmt.Fprintf(stderr, "%s\n", p.Hint)
	}
	return exitError
}

// Flags declares the flags that clients share.
func (c *Client) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.Connect, "connect", DefaultConnect, "`address` to connect to: host:port, tcp://host:port or unix://path")
	flags.StringVar(&c.Name, "name", c.Name, "`name` to send under")
	flags.DurationVar(&c.Every, "every", DefaultEvery, "`time` between two messages")
	flags.IntVar(&c.Count, "count", 0, "messages to send; 0: until stopped")
	flags.DurationVar(&c.Wait, "wait", DefaultWait, "`time` to look for a server that cannot be reached")
}

// Server is a program around Pull or Serve.
type Server struct {
	Name, About string
	Listen      string // where it listens unless told otherwise
	As          string // its name in events unless told otherwise
	Serve       func(context.Context, net.Listener, string, Report) error
}

// Program makes the program of s.
func (s Server) Program() Program {
	return Program{
		Name:  s.Name,
		About: s.About,
		Hint:  "End that program, or give another address with -listen (and in the gateway's configuration).",
		Setup: func(flags *flag.FlagSet) func(context.Context, Report) error {
			listen := flags.String("listen", s.Listen, "`address` to listen on: host:port, tcp://host:port or unix://path")
			as := flags.String("name", s.As, "`name` to answer under")
			return func(ctx context.Context, report Report) error {
				l, err := Listen(ctx, *listen)
				if err != nil {
					return err
				}
				return s.Serve(ctx, l, *as, report)
			}
		},
	}
}
