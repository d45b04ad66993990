//go:build linux

package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

//go:embed *.c *.h
var sources embed.FS

// tools are the C programs: name, sources, libraries.
var tools = []struct {
	name    string
	sources []string
	flags   []string
}{
	{"floor", []string{"floor.c"}, nil},
	{"backend", []string{"backend.c"}, nil},
	{"load", []string{"load.c", "works.c"}, nil},
	{"zmq", []string{"zmq.c"}, []string{"-lzmq"}},
	{"requests", []string{"requests.c"}, []string{"-lzmq"}},
}

// buildTools compiles the load generators, the floor and the plain gateway into dir.
func buildTools(ctx context.Context, dir string) error {
	entries, err := sources.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := sources.ReadFile(e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), text, 0o600); err != nil {
			return err
		}
	}
	for _, tool := range tools {
		argv := append([]string{"cc", "-O2", "-pthread", "-o", tool.name}, tool.sources...)
		if err := command(ctx, dir, append(argv, tool.flags...)...); err != nil {
			return err
		}
	}
	return command(ctx, "", "go", "build", "-o", dir+"/", "gateway/demo/bench/plain", "gateway/demo/bench/rpc")
}

// installPeers has what is missing of the peers' Debian packages installed.
func installPeers(ctx context.Context, root string, peers []*Peer) error {
	argv := []string{filepath.Join(root, ".ci", "deps"), "build-essential:cc", "libzmq3-dev:/usr/include/zmq.h"}
	for _, p := range peers {
		argv = append(argv, p.Needs...)
	}
	return command(ctx, "", argv...)
}

// command runs a program to its end; what it printed is in the error.
func command(ctx context.Context, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// Machine is what the figures depend on besides the programs.
type Machine struct {
	CPU      string
	Cores    int
	MemoryMB uint64
	Kernel   string
	System   string
	FilesMax int
	Versions []string // name and version of every program
}

// describeMachine leaves a field empty where the machine does not tell.
func describeMachine(ctx context.Context, peers []*Peer, gateway string, filesMax int) Machine {
	m := Machine{Cores: runtime.NumCPU(), FilesMax: filesMax, CPU: field("/proc/cpuinfo", "model name", ":"), System: strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`)}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryMB = info.Totalram * uint64(info.Unit) >> 20
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	m.Versions = append(m.Versions, "gateway: "+firstLine(ctx, gateway, "version"))
	seen := map[string]bool{}
	for _, p := range peers {
		if len(p.Version) > 0 && !seen[p.Name] {
			seen[p.Name] = true
			m.Versions = append(m.Versions, p.Title+": "+firstLine(ctx, p.Version...))
		}
	}
	m.Versions = append(m.Versions, "libzmq: "+firstLine(ctx, "pkg-config", "--modversion", "libzmq"),
		"C compiler: "+firstLine(ctx, "cc", "--version"), "Go: "+runtime.Version())
	return m
}

func firstLine(ctx context.Context, argv ...string) string {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil && line == "" {
		return "unknown"
	}
	return line
}

// field is the first value of a key in a file of "key separator value" lines.
func field(path, key, separator string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
