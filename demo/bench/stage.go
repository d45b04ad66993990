//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A stage is this program started again as process 1 of namespaces of its own (network, process ids, mounts). It starts
// backend, proxy and client, leads the client through its phases and measures the proxy between them.
//
// Rules: the stage ends by exiting. The kernel then kills whatever it has started and drops the namespaces, so nothing has
// to be cleaned up, however a sample ends; and the kernel kills the stage when the harness dies (Pdeathsig).

const (
	stageArgument = "stage" // os.Args[1] of a stage

	startWait   = 10 * time.Second      // for a program to listen
	settleWait  = 2 * time.Second       // for a proxy's processes and memory to stop changing
	settleStep  = 25 * time.Millisecond // between two looks
	pollStep    = 2 * time.Millisecond  // between two looks for a listener
	quoteMax    = 400                   // bytes of a dead program's output in an error
	somaxconn   = "16384"               // as high as the backlogs that the programs ask for
	clientPorts = "1024 65535"          // every connection that a sample makes leaves a port in TIME_WAIT
)

// Script is what a stage plays.
type Script struct {
	Dir     string
	OneCore bool
	Conns   int
	Backend []string // nil: the client brings it
	Back    []string // what the backend listens on
	Proxy   []string // nil: direct
	Front   string
	Client  []string
}

// Outcome is what a stage answers: values, or what went wrong.
type Outcome struct {
	Values  Values
	Trouble string
}

// runStage is the main function of a stage: a Script on stdin, an Outcome on stdout.
func runStage() int {
	runtime.LockOSThread() // affinity is a thread's, and children inherit it from the thread that starts them
	var script Script
	err := json.NewDecoder(os.Stdin).Decode(&script)
	var out Outcome
	if err == nil {
		busy, started := busySeconds(), time.Now()
		if out.Values, err = script.play(); err == nil {
			out.Values["others_cores"] = max(0, busySeconds()-busy-stageSeconds()) / time.Since(started).Seconds()
		}
	}
	if err != nil {
		out.Trouble = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return 1
	}
	return 0
}

func (s *Script) play() (Values, error) {
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("prepare the namespaces: %w", err)
	}
	if s.Backend != nil {
		backend, err := s.start("backend", s.Backend)
		if err != nil {
			return nil, err
		}
		if err := backend.await(s.Back); err != nil {
			return nil, err
		}
	}
	var proxy *program
	if s.Proxy != nil {
		var err error
		if proxy, err = s.start("proxy", s.Proxy); err != nil {
			return nil, err
		}
		if err := proxy.await([]string{s.Front}); err != nil {
			return nil, err
		}
	}
	quiet, err := proxy.settle()
	if err != nil {
		return nil, err
	}
	return s.perform(proxy, quiet)
}

// perform leads the client through its phases.
func (s *Script) perform(proxy *program, quiet usage) (Values, error) {
	client := exec.Command(s.Client[0], s.Client[1:]...)
	var complaints bytes.Buffer
	client.Stderr = &complaints
	commands, err := client.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := client.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := client.Start(); err != nil {
		return nil, fmt.Errorf("start the client: %w", err)
	}
	lines := bufio.NewReader(answers)
	phase := func(want string) (usage, error) {
		line, err := lines.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			return usage{}, errors.Join(fmt.Errorf("the client said %q instead of %q: %s", line, want, quote(complaints.Bytes())), err)
		}
		now, err := proxy.usage()
		if err != nil {
			return usage{}, err
		}
		_, err = io.WriteString(commands, "go\n")
		return now, err
	}
	before, err := phase("ready")
	if err != nil {
		return nil, err
	}
	after, err := phase("done")
	if err != nil {
		return nil, err
	}
	values := Values{}
	if err := json.NewDecoder(lines).Decode(&values); err != nil {
		return nil, fmt.Errorf("the client's figures: %w: %s", err, quote(complaints.Bytes()))
	}
	if err := client.Wait(); err != nil {
		return nil, fmt.Errorf("the client: %w: %s", err, quote(complaints.Bytes()))
	}
	values["connections"] = float64(s.Conns)
	if proxy != nil {
		values["cpu_s"] = after.CPU - before.CPU
		values["rss_kib"] = after.RSSKiB
		values["rss_grown_kib"] = after.RSSKiB - quiet.RSSKiB
		values["fds_grown"] = after.FDs - quiet.FDs
	}
	return values, proxy.alive()
}

// prepare makes the namespaces fit to work in: mounts that nobody else sees, a /proc of our own, loopback up.
func (s *Script) prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	for path, setting := range map[string]string{
		"/proc/sys/net/core/somaxconn":           somaxconn,
		"/proc/sys/net/ipv4/ip_local_port_range": clientPorts,
	} {
		if err := os.WriteFile(path, []byte(setting), 0); err != nil {
			return err
		}
	}
	if _, err := unlimitFiles(); err != nil {
		return err
	}
	if s.OneCore {
		return keepToOneCore()
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// keepToOneCore takes the last core that this process may use: the first one serves most interrupts.
func keepToOneCore() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("read the CPU affinity: %w", err)
	}
	last := 0
	for i := range len(allowed) * 64 {
		if allowed.IsSet(i) {
			last = i
		}
	}
	one.Set(last)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keep to core %d: %w", last, err)
	}
	return nil
}

// unlimitFiles raises the limit of open descriptors as far as it goes and returns it. Setting it by hand also keeps Go
// from giving children the limit that the shell had.
func unlimitFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	if higher := (syscall.Rlimit{Cur: filesWanted, Max: filesWanted}); limit.Max < filesWanted && syscall.Setrlimit(syscall.RLIMIT_NOFILE, &higher) == nil {
		return filesWanted, nil
	}
	limit.Cur = min(limit.Max, filesWanted)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return int(limit.Cur), nil
}

// program is a backend or a proxy. A nil program is the proxy of a direct connection: it takes nothing and never dies.
type program struct {
	name   string
	pid    int
	output string // file
	ended  chan struct{}
	err    error // valid once ended is closed
}

func (s *Script) start(name string, argv []string) (*program, error) {
	p := &program{name: name, output: filepath.Join(s.Dir, name+".out"), ended: make(chan struct{})}
	output, err := os.Create(p.output)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, output, output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *program) alive() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.ended:
		text, _ := os.ReadFile(p.output) // what it said is a courtesy
		return fmt.Errorf("the %s ended (%v): %s", p.name, p.err, quote(text))
	default:
		return nil
	}
}

// await waits until all the addresses are listened on.
func (p *program) await(addresses []string) error {
	start := time.Now()
	for _, address := range addresses {
		for !listens(address) {
			if err := p.alive(); err != nil {
				return err
			}
			if time.Since(start) > startWait {
				text, _ := os.ReadFile(p.output)
				return fmt.Errorf("the %s does not listen on %s after %v: %s", p.name, address, startWait, quote(text))
			}
			time.Sleep(pollStep)
		}
	}
	return nil
}

func (p *program) usage() (usage, error) {
	if p == nil {
		return usage{}, nil
	}
	if err := p.alive(); err != nil {
		return usage{}, err
	}
	return usageOf(p.pid)
}

// settle returns the usage once two looks in a row agree on processes and memory: a proxy that has just begun to listen
// may still be starting its workers.
func (p *program) settle() (usage, error) {
	last, err := p.usage()
	for start := time.Now(); err == nil && p != nil && time.Since(start) < settleWait; {
		time.Sleep(settleStep)
		before := last
		if last, err = p.usage(); before.RSSKiB == last.RSSKiB && before.Processes == last.Processes && before.FDs == last.FDs {
			break
		}
	}
	return last, err
}

// quote shortens what a program has printed to its end.
func quote(text []byte) string {
	text = bytes.TrimSpace(text)
	if len(text) > quoteMax {
		text = text[len(text)-quoteMax:]
	}
	return strings.ReplaceAll(string(text), "\n", "; ")
}
