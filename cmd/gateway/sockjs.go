package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"gateway/demo/browser"
	"gateway/internal/config"
	"gateway/internal/gateway"
)

// sockJSUsage is the help of SockJSProxy's command line, whose place `gateway sockjs` takes.
const sockJSUsage = `usage: gateway sockjs [-h] [--version] [--address ADDRESS] [--in-port IN_PORT]
                      [--out-port OUT_PORT] [--http-port HTTP_PORT]
                      [--static-path STATIC_PATH] [--static-url STATIC_URL]
                      [--samples SAMPLES] [--verbose]

Carry messages between SockJS and ZeroMQ: the command line of sockjsproxy.

  -h, --help            show this help and exit
  --version             show the version and exit
  --address ADDRESS, -a ADDRESS
                        the ZeroMQ address to listen on (default: *, meaning
                        everything)
  --in-port IN_PORT, -i IN_PORT
                        the port where programs pull what browsers say
                        (default: 9241)
  --out-port OUT_PORT, -o OUT_PORT
                        the port where programs push what browsers shall hear
                        (default: 9242)
  --http-port HTTP_PORT, -p HTTP_PORT
                        the port for browsers (default: 8080)
  --static-path STATIC_PATH, -s STATIC_PATH
                        a folder to serve under --static-url
  --static-url STATIC_URL, -u STATIC_URL
                        where the files in --static-path are served
  --samples SAMPLES     serve the sample page under this path
  --verbose, -v         log more, for debugging

Browsers connect to the root of the HTTP port. The same with a configuration
file, on one port with everything else: a sockjs block, see demo/full.hcl.
`

// sockJSFlags is what the command line says.
type sockJSFlags struct {
	address                   string
	inPort, outPort, httpPort int
	staticPath, staticURL     string
	samples                   string
	verbose, version          bool
}

// sockJS runs a gateway for browsers alone, by the command line of SockJSProxy.
func sockJS(args []string, stdout, stderr io.Writer) int {
	f, err := parseSockJSFlags(args)
	if err == flag.ErrHelp {
		io.WriteString(stdout, sockJSUsage)
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "gateway sockjs: %v\ngateway sockjs --help lists the options.\n", err)
		return exitUsage
	}
	if f.version {
		return printVersion(nil, stdout, stderr)
	}
	routes, err := f.routes()
	if err != nil {
		fmt.Fprintf(stderr, "gateway sockjs: %v\n", err)
		return exitError
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)

	cfg, diags := config.Parse("command line", f.config())
	if diags.HasErrors() {
		fmt.Fprintf(stderr, "gateway sockjs: %v\n", diags.Diagnostics)
		return exitUsage
	}
	level := &slog.LevelVar{}
	log := newLog(stderr, config.LogText, level)
	i, err := start(cfg, surroundings{log: log, level: level, load: func() (*config.Config, error) { return cfg, nil }, extra: routes})
	if err != nil {
		fmt.Fprintf(stderr, "gateway sockjs: it did not start:\n%v\n", err)
		return exitError
	}
	if len(diags.Diagnostics) > 0 {
		log.Warn("whoever reaches the ports of programs can read and answer what browsers say; --address 127.0.0.1 keeps others out")
	}
	base := "http://localhost:" + strconv.Itoa(i.current.Load().ports[0].addr.(*net.TCPAddr).Port)
	if f.samples != "" {
		fmt.Fprintf(stdout, "Sample page: %s/%s/\n", base, f.samples)
	} else {
		fmt.Fprintf(stdout, "Browsers connect to %s/ (--samples samples serves a page to try it)\n", base)
	}
	return untilStopped(i, signals)
}

// parseSockJSFlags reads the command line.
func parseSockJSFlags(args []string) (*sockJSFlags, error) {
	f := &sockJSFlags{}
	flags := flag.NewFlagSet("sockjs", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	for _, name := range []string{"address", "a"} {
		flags.StringVar(&f.address, name, "*", "")
	}
	for _, p := range []struct {
		port        *int
		long, short string
		otherwise   int
	}{{&f.inPort, "in-port", "i", 9241}, {&f.outPort, "out-port", "o", 9242}, {&f.httpPort, "http-port", "p", 8080}} {
		flags.IntVar(p.port, p.long, p.otherwise, "")
		flags.IntVar(p.port, p.short, p.otherwise, "")
	}
	for _, name := range []string{"static-path", "s"} {
		flags.StringVar(&f.staticPath, name, "", "")
	}
	for _, name := range []string{"static-url", "u"} {
		flags.StringVar(&f.staticURL, name, "", "")
	}
	flags.StringVar(&f.samples, "samples", "", "")
	for _, name := range []string{"verbose", "v"} {
		flags.BoolVar(&f.verbose, name, false, "")
	}
	flags.BoolVar(&f.version, "version", false, "")
	if err := flags.Parse(asGoFlags(flags, args)); err != nil {
		return nil, err
	}
	f.samples = strings.Trim(f.samples, "/")
	f.staticURL = "/" + strings.Trim(f.staticURL, "/")
	return f, f.check(flags.Args())
}

// asGoFlags rewrites what argparse takes and flag does not: -p8080, and long options cut short, such as --http 8080.
func asGoFlags(flags *flag.FlagSet, args []string) []string {
	var out []string
	for _, arg := range args {
		switch {
		case strings.HasPrefix(arg, "--") && len(arg) > 2:
			out = append(out, "--"+wholeName(flags, arg[2:]))
		case len(arg) > 2 && arg[0] == '-' && strings.ContainsRune("aiopsu", rune(arg[1])) && arg[2] != '=':
			out = append(out, arg[:2], arg[2:])
		default:
			out = append(out, arg)
		}
	}
	return out
}

// wholeName completes the name of a long option, if only one begins so.
func wholeName(flags *flag.FlagSet, arg string) string {
	name, _, _ := strings.Cut(arg, "=")
	var found []string
	flags.VisitAll(func(f *flag.Flag) {
		if f.Name == name {
			found = nil
		} else if len(f.Name) > 1 && strings.HasPrefix(f.Name, name) && flags.Lookup(name) == nil {
			found = append(found, f.Name)
		}
	})
	if len(found) == 1 {
		return found[0] + arg[len(name):]
	}
	return arg
}

func (f *sockJSFlags) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("there is no argument %q", rest[0])
	}
	if _, err := netip.ParseAddr(f.address); err != nil && f.address != "*" && f.address != "localhost" {
		return fmt.Errorf("--address %q is no IP address; * means every one", f.address)
	}
	for _, port := range []int{f.inPort, f.outPort, f.httpPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("there is no port %d", port)
		}
	}
	if (f.staticPath != "") != (f.staticURL != "/") {
		return fmt.Errorf("--static-path and --static-url go together: the one says which files, the other where")
	}
	return nil
}

// config is the same as a configuration file.
func (f *sockJSFlags) config() []byte {
	endpoint := func(port int) string {
		return "tcp://" + strings.Replace(net.JoinHostPort(f.address, strconv.Itoa(port)), "[*]", "*", 1)
	}
	level := "info"
	if f.verbose {
		level = "debug"
	}
	return fmt.Appendf(nil, "listen %q {\n  name = \"http\"\n}\nsockjs \"/\" {\n  push = %q\n  pull = %q\n}\nlog {\n  level = %q\n}\n",
		":"+strconv.Itoa(f.httpPort), endpoint(f.inPort), endpoint(f.outPort), level)
}

// routes are the static files and the sample page.
func (f *sockJSFlags) routes() ([]gateway.HTTPRoute, error) {
	var routes []gateway.HTTPRoute
	if f.staticPath != "" {
		folder, err := os.OpenRoot(f.staticPath) // until the process ends
		if err != nil {
			return nil, fmt.Errorf("--static-path: %w", err)
		}
		routes = append(routes, filesAt(f.staticURL, folder.FS()))
	}
	if f.samples != "" {
		routes = append(routes, filesAt("/"+f.samples, browser.Page))
	}
	return routes, nil
}
