package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"gateway/internal/config"
)

const (
	statusEvery    = time.Second     // with -watch
	statusTimeout  = 5 * time.Second // of one question
	statusBytesMax = 64 << 20

	clearScreen = "\x1b[H\x1b[2J"
)

// showStatus prints /status of a running gateway as tables for people.
func showStatus(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	path := flags.String("config", configDefault, "the configuration `file` that names the admin port, and its token")
	addr := flags.String("admin", "", "the admin `address` instead: host:port or unix:///path")
	tokenFile := flags.String("token-file", "", "a `file` with the admin token")
	raw := flags.Bool("json", false, "print what the gateway says, for programs")
	watched := flags.Bool("watch", false, "print it again every second, until interrupted")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	from, err := adminOf(*path, *addr, *tokenFile)
	if err != nil {
		fmt.Fprintf(stderr, "gateway status: %v\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for {
		text, err := from.status(ctx)
		if err == nil && !*raw {
			text, err = tables(text)
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(stderr, "gateway status: %v\n", err)
			return exitError
		}
		if *watched && !*raw && isTerminal(stdout) {
			text = clearScreen + text
		}
		fmt.Fprint(stdout, text)
		if !*watched {
			return exitOK
		}
		select {
		case <-time.After(statusEvery):
		case <-ctx.Done():
			return exitOK
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, isFile := w.(*os.File)
	return isFile && term.IsTerminal(int(f.Fd()))
}

// adminClient asks a gateway's admin port.
type adminClient struct {
	network, addr, token string
}

// adminOf finds the admin port: where a flag says, or where the configuration does.
func adminOf(path, addr, tokenFile string) (adminClient, error) {
	a := adminClient{network: "tcp", addr: addr}
	if addr == "" {
		cfg, diags := config.Load(path)
		if diags.HasErrors() {
			return a, fmt.Errorf("%s does not load (gateway check says why); name the admin port with -admin", path)
		}
		if cfg.Admin == nil {
			return a, fmt.Errorf("%s has no admin block, and the gateway no admin port", path)
		}
		a = adminClient{cfg.Admin.Network, cfg.Admin.Addr, string(cfg.Admin.Token)}
	}
	if socket, ok := strings.CutPrefix(addr, "unix://"); ok {
		a.network, a.addr = "unix", socket
	}
	if tokenFile != "" {
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return a, fmt.Errorf("-token-file: %w", err)
		}
		a.token = strings.TrimSpace(string(token))
	}
	return a, nil
}

// status asks for /status.
func (a adminClient) status(ctx context.Context) (string, error) {
	text, err := a.ask(ctx, http.MethodGet, "/status", statusTimeout)
	if err == nil && !json.Valid([]byte(text)) {
		return "", fmt.Errorf("what answers at %s is no gateway's admin port", a.addr)
	}
	return text, err
}

// ask gives what the admin port answers.
func (a adminClient) ask(ctx context.Context, method, path string, timeout time.Duration) (string, error) {
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, a.network, a.addr)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, nil)
	if err != nil {
		return "", err
	}
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("no gateway answers at the admin port %s: %w", a.addr, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, statusBytesMax))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the answer: %w", err)
	case response.StatusCode == http.StatusUnauthorized:
		return "", fmt.Errorf("the admin port asks for its token: -token-file FILE")
	case response.StatusCode == http.StatusUnprocessableEntity:
		return "", errors.New(strings.TrimSpace(string(body)))
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the admin port answers %s", response.Status)
	}
	return string(body), nil
}
