package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	readyWait = 30 * time.Second
	stopWait  = 40 * time.Second
)

// gateway is the gateway's process.
type gateway struct {
	binary, admin string
	dir           string
	process       *exec.Cmd
	exited        chan error
}

func startGateway(ctx context.Context, binary, admin, configuration string) (*gateway, error) {
	dir, err := os.MkdirTemp("", "migration-")
	if err != nil {
		return nil, err
	}
	g := &gateway{binary: binary, admin: admin, dir: dir, exited: make(chan error, 1)}
	if err := writeFile(g.file(), configuration); err != nil {
		return nil, err
	}
	g.process = exec.Command(binary, "serve", "-config", g.file())
	log, err := os.Create(filepath.Join(dir, "gateway.log"))
	if err != nil {
		return nil, err
	}
	g.process.Stderr = log
	if err := g.process.Start(); err != nil {
		return nil, err
	}
	go func() { g.exited <- g.process.Wait() }()
	for began := time.Now(); time.Since(began) < readyWait; time.Sleep(lookEvery) {
		if _, err = g.get(ctx, "/readyz"); err == nil {
			return g, nil
		}
	}
	return g, fmt.Errorf("the gateway is not ready: %w; see %s", err, log.Name())
}

func (g *gateway) file() string { return filepath.Join(g.dir, "gateway.hcl") }

// reload gives the gateway another configuration.
func (g *gateway) reload(configuration string) error {
	if err := writeFile(g.file(), configuration); err != nil {
		return err
	}
	response, err := http.Post("http://"+g.admin+"/reload", "", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		return fmt.Errorf("reload: %s: %s", response.Status, text)
	}
	return nil
}

func (g *gateway) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return io.ReadAll(response.Body)
}

// migrationStatus is what this program reads of /status.
type migrationStatus struct {
	Services []struct {
		Service string
		Sources []struct {
			Protocol          string
			Live, Connections int
		}
	}
	Ways []struct {
		Backend  string
		Asked    float64 `json:"asked_percent"`
		Measured float64 `json:"measured_percent"`
	}
	Mirrors []struct {
		Matches, Mismatches int
	}
}

// live is how many ZeroMQ clients a service has now.
func (s migrationStatus) live(service string) int {
	n, _ := s.count(service)
	return n
}

// seen is how many ZeroMQ connections a service has had.
func (s migrationStatus) seen(service string) int {
	_, n := s.count(service)
	return n
}

func (s migrationStatus) count(service string) (live, seen int) {
	for _, one := range s.Services {
		for _, from := range one.Sources {
			if one.Service == service && from.Protocol == "zmq" {
				live += from.Live
				seen += from.Connections
			}
		}
	}
	return live, seen
}

func (g *gateway) status(ctx context.Context) (migrationStatus, error) {
	text, err := g.get(ctx, "/status")
	var s struct{ Migration migrationStatus }
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s.Migration, err
}

// show prints what `gateway migration` says.
func (g *gateway) show(ctx context.Context) error {
	text, err := exec.CommandContext(ctx, g.binary, "migration", "-admin", g.admin).CombinedOutput()
	for line := range strings.Lines(strings.TrimSpace(string(text)) + "\n") {
		fmt.Print("   | ", line)
	}
	return err
}

// silent asks `gateway migration` whether ZeroMQ can be switched off.
func (g *gateway) silent(ctx context.Context, d time.Duration) bool {
	return exec.CommandContext(ctx, g.binary, "migration", "-admin", g.admin, "-silent", d.String()).Run() == nil
}

// stop ends the gateway, and removes what it left.
func (g *gateway) stop() {
	if g.process == nil || g.process.Process == nil {
		return
	}
	_ = g.process.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-g.exited:
		if err != nil {
			fmt.Fprintf(os.Stderr, "the gateway ended with %v; its log is in %s\n", err, g.dir)
			return
		}
	case <-time.After(stopWait):
		_ = g.process.Process.Kill()
		<-g.exited
	}
	_ = os.RemoveAll(g.dir) // a temporary directory
}
