package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"gateway/internal/zmtp"
)

// probeTimeout bounds each question unless -timeout says otherwise.
const probeTimeout = 3 * time.Second

// probeTarget is whom to ask, and how.
type probeTarget struct {
	addr      string
	timeout   time.Duration
	serverKey *zmtp.PublicKey // nil: no CURVE handshake is tried
	service   string          // of the gRPC health check; "" is the whole server
}

// answer is what came back in one protocol.
type answer struct {
	spoken  bool // it speaks the protocol
	healthy bool
	text    string // for people
}

// questions are asked at the same time, each on connections of its own, and answered in this order.
var questions = []struct {
	protocol string
	ask      func(context.Context, probeTarget) answer
}{
	{"zmtp", askZMTP},
	{"grpc", askGRPC},
	{"http", askHTTP},
	{"tls", askTLS},
	{"ssh", askSSH},
}

// probe says what answers at an address. It exits 0 if something answers and all that answers is healthy.
func probe(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("probe", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, "Usage: gateway probe [flags] HOST:PORT\n\n")
		flags.PrintDefaults()
	}
	target := probeTarget{}
	key := flags.String("server-key", "", "the server's public CURVE `key`, Z85 or a file: a whole handshake is made")
	flags.StringVar(&target.service, "service", "", "the `service` that the gRPC health check asks for; default: the server")
	flags.DurationVar(&target.timeout, "timeout", probeTimeout, "how long to wait for each answer")
	if err := flags.Parse(args); err != nil {
		return usageCode(err)
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return exitUsage
	}
	target.addr = flags.Arg(0)
	if _, _, err := net.SplitHostPort(target.addr); err != nil {
		fmt.Fprintf(stderr, "gateway probe: %q is not HOST:PORT\n", target.addr)
		return exitUsage
	}
	if *key != "" {
		k, err := publicKey(*key)
		if err != nil {
			fmt.Fprintf(stderr, "gateway probe: -server-key: %v\n", err)
			return exitUsage
		}
		target.serverKey = &k
	}
	ctx, cancel := context.WithTimeout(context.Background(), target.timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.addr)
	if err != nil {
		fmt.Fprintf(stderr, "gateway probe: nobody answers at %s: %v\n", target.addr, err)
		return exitError
	}
	conn.Close()
	return printAnswers(stdout, target, askAll(target))
}

// publicKey reads a key from Z85, or from a key file with one public key.
func publicKey(arg string) (zmtp.PublicKey, error) {
	k, err := zmtp.ParsePublicKey(arg)
	if err == nil {
		return k, nil
	}
	keys, fileErr := zmtp.LoadPublicKeys(arg)
	switch {
	case fileErr != nil:
		return k, errors.Join(err, fileErr)
	case len(keys) != 1:
		return k, fmt.Errorf("%s has %d public keys; one is needed", arg, len(keys))
	}
	return keys[0], nil
}

func askAll(target probeTarget) []answer {
	answers := make([]answer, len(questions))
	var all sync.WaitGroup
	for i, q := range questions {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), target.timeout)
			defer cancel()
			answers[i] = q.ask(ctx, target)
		})
	}
	all.Wait()
	return answers
}

func printAnswers(w io.Writer, target probeTarget, answers []answer) int {
	spoken, healthy := 0, true
	for i, a := range answers {
		if a.spoken {
			spoken++
			healthy = healthy && a.healthy
			fmt.Fprintf(w, "%-5s %s\n", questions[i].protocol, a.text)
		}
	}
	switch {
	case spoken == 0:
		fmt.Fprintf(w, "%s takes connections, and answers none of ZMTP, gRPC, HTTP, TLS and SSH within %v\n", target.addr, target.timeout)
		return exitError
	case !healthy:
		return exitError
	}
	return exitOK
}
