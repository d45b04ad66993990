//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	filesWanted   = 1 << 16           // descriptors that each program may open, if the machine allows it
	filesNeeded   = 2*idleConns + 200 // or the idle work cannot be done
	sampleTimeout = 30 * time.Second
	front         = "127.0.0.1:7001"
	back          = "127.0.0.1:7002"
	keptDir       = "/tmp/sample" // stands in published configurations for a sample's scratch directory
)

// Sample is one peer doing one work once.
type Sample struct {
	Round   int
	Work    string
	Peer    string
	Values  Values `json:",omitempty"`
	Trouble string `json:",omitempty"` // the sample could not be finished
}

// Run is one whole run of the benchmark: what is kept as JSON, and all that the report needs.
type Run struct {
	Started time.Time
	Took    time.Duration
	Size    Size
	Rounds  int  // finished
	Cut     bool // the time limit came before all rounds
	Machine Machine
	Samples []Sample
	Configs map[string]string // file name to text
}

// Plan is what a run is to do.
type Plan struct {
	Size   Size
	Rounds int
	Limit  time.Duration
	Works  []*Work
	Peers  []*Peer
}

// turns are the works of a round. Those whose figures vary much from sample to sample come several times in a run of the full
// size.
func (p Plan) turns() []*Work {
	var turns []*Work
	for _, w := range p.Works {
		turns = append(turns, w)
		for n := 1; n < w.Times && p.Size == full; n++ {
			turns = append(turns, w)
		}
	}
	return turns
}

// harness runs samples.
type harness struct {
	dir      string // everything temporary
	tools    string
	gateway  string
	filesMax int
	progress io.Writer
}

// run does the plan: rounds, in each every work, in each every peer: A B C A B C. It ends at the limit with what it has.
func (h *harness) run(ctx context.Context, plan Plan) (*Run, error) {
	started := time.Now()
	result := &Run{Started: started.UTC(), Size: plan.Size, Configs: map[string]string{}}
	result.Machine = describeMachine(ctx, plan.Peers, h.gateway, h.filesMax)
	var longest time.Duration
	for round := 1; round <= plan.Rounds; round++ {
		roundStarted := time.Now()
		if time.Since(started)+longest > plan.Limit {
			result.Cut = true
			break
		}
		for _, w := range plan.turns() {
			for _, p := range plan.Peers {
				if p.sitsOut(w) != "" {
					continue
				}
				if time.Since(started) > plan.Limit {
					result.Cut, result.Took = true, time.Since(started)
					return result, nil
				}
				s, err := h.sample(ctx, plan.Size, w, p, result.Configs)
				if err != nil {
					return nil, err
				}
				s.Round = round
				result.Samples = append(result.Samples, s)
				h.print(plan, w, p, s)
			}
		}
		result.Rounds = round
		longest = max(longest, time.Since(roundStarted))
	}
	result.Took = time.Since(started)
	return result, nil
}

// sample plays one work with one peer on a stage of its own. An error ends the run; what goes wrong on the stage is the
// sample's trouble.
func (h *harness) sample(ctx context.Context, size Size, w *Work, p *Peer, configs map[string]string) (Sample, error) {
	sample := Sample{Work: w.Name, Peer: p.Name}
	dir, err := os.MkdirTemp(h.dir, "sample-")
	if err != nil {
		return sample, err
	}
	defer os.RemoveAll(dir)
	script, err := h.script(dir, size, w, p, configs)
	if err != nil {
		return sample, err
	}
	out, err := play(ctx, script)
	if err != nil {
		if ctx.Err() != nil {
			return sample, ctx.Err()
		}
		out.Trouble = err.Error()
	}
	sample.Values, sample.Trouble = out.Values, strings.ReplaceAll(out.Trouble, dir+"/", "")
	return sample, nil
}

// script lays out what a stage is to play and writes the proxy's configuration.
func (h *harness) script(dir string, size Size, w *Work, p *Peer, configs map[string]string) (*Script, error) {
	s := Scene{
		Dir: dir, Tools: h.tools, Gateway: h.gateway, Front: front, Back: back, Target: back,
		Cores: cores(w), FilesMax: h.filesMax, Amount: w.Amount[size], Conns: w.Conns[size], GRPC: w.GRPC, From: p.From, To: p.To,
	}
	if w.Unix && !p.OverTCP {
		s.Target = filepath.Join(dir, "backend.sock")
	}
	script := &Script{Dir: dir, OneCore: w.OneCore, Conns: s.Conns, Back: slices.Compact([]string{s.Back, s.Target})}
	if p.Command == nil {
		s.Front = s.Target
	} else {
		config := filepath.Join(dir, p.Config)
		if p.Config != "" {
			text, err := p.Configuration(s)
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				return nil, err
			}
			if _, ok := configs[p.Config]; !ok && !w.Unix && !w.OneCore {
				configs[p.Config] = strings.ReplaceAll(text, dir, keptDir)
			}
		}
		script.Proxy = p.Command(s, config)
	}
	script.Front = s.Front
	script.Client = w.Client(s)
	if w.Backend != nil {
		script.Backend = w.Backend(s)
	}
	return script, nil
}

// play starts a stage and waits for its answer.
func play(ctx context.Context, script *Script) (Outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sampleTimeout, fmt.Errorf("not done after %v", sampleTimeout))
	defer cancel()
	input, err := json.Marshal(script)
	if err != nil {
		return Outcome{}, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", stageArgument)
	var output, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &output, &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C is for the harness, which ends the stage
	}
	if err := cmd.Run(); err != nil {
		return Outcome{}, errors.Join(fmt.Errorf("the stage: %w: %s", err, quote(complaints.Bytes())), context.Cause(ctx))
	}
	var out Outcome
	if err := json.Unmarshal(output.Bytes(), &out); err != nil {
		return Outcome{}, fmt.Errorf("the stage's answer: %w", err)
	}
	return out, nil
}

// print shows a sample as one line.
func (h *harness) print(plan Plan, w *Work, p *Peer, s Sample) {
	fmt.Fprintf(h.progress, "%d/%d  %-18s %-10s", s.Round, plan.Rounds, w.Name, p.Name)
	if s.Trouble == "" {
		for _, f := range w.Figures {
			if x, ok := f.of(s.Values, p); ok {
				fmt.Fprintf(h.progress, "  %s %s", number(x), f.Title)
			}
		}
	}
	if t := s.trouble(); t != "" {
		fmt.Fprintf(h.progress, "  TROUBLE: %s", t)
	}
	fmt.Fprintln(h.progress)
}
