package handover

// Rules of this file.
//
// The new process is a child of this one until this one ends. It shares nothing but the sockets, standard input, output and
// error, and the pipe by which it reports; that pipe has no other writer, so its end is the end of the report or of the child.
// Until the child is ready it is ours to end; from then on it is not.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	reportBytesMax = 64 << 10
)

// Errors of Pass. The new process is no more when one of them is returned.
var (
	ErrNotReady = errors.New("the new process was not ready in time")
	ErrEnded    = errors.New("the new process ended before it was ready")
)

// Pass starts this program again, as it was called, with all sockets in use, and returns its process id when it is ready. The
// program's file is looked up anew, so that what stands there now may be another version. The new process listens on the
// sockets as well: this one should stop to accept. After an error everything is as it was, and so it is when the new process
// is not ready within wait, or when ctx ends first.
func (s *Sockets) Pass(ctx context.Context, wait time.Duration) (pid int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("%w, which is %v", ErrNotReady, wait))
	defer cancel()
	path, err := program()
	if err != nil {
		return 0, fmt.Errorf("find the program to start: %w", err)
	}
	files, env, err := s.luggage()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	report, theirs, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("make a pipe for the new process: %w", err)
	}
	defer report.Close()
	files = append(files, theirs)
	cmd := exec.Command(path, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles, cmd.Env = files, env
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	theirs.Close() // the child's copy is the only one now
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := await(ctx, report); err != nil {
		cmd.Process.Kill()
		state := <-ended
		if errors.Is(err, ErrEnded) && state != nil {
			err = fmt.Errorf("%w (%w)", err, state)
		}
		return 0, err
	}
	s.leave()
	return cmd.Process.Pid, nil
}

// program is the file of this program, by the name that it was called by: a link may lead to another version now.
func program() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return os.Executable()
	}
	return path, nil
}

// luggage is what the new process gets: a copy of each socket in use, and an environment that tells which is which. What the
// service manager set for this process alone is left out.
func (s *Sockets) luggage() (files []*os.File, env []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	places := []place{}
	for _, socket := range s.used {
		f, err := socket.file()
		if err != nil {
			return files, nil, err
		}
		files, places = append(files, f), append(places, socket.place)
	}
	text, err := json.Marshal(places)
	if err != nil {
		return files, nil, fmt.Errorf("describe the sockets: %w", err)
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES":
		default:
			env = append(env, entry)
		}
	}
	return files, append(env, handoverEnv+"="+string(text)), nil
}

// await reads what the new process says, until it is ready, has ended, or ctx is done.
func await(ctx context.Context, report *os.File) error {
	stop := context.AfterFunc(ctx, func() { report.SetReadDeadline(time.Now()) })
	defer stop()
	said, err := io.ReadAll(io.LimitReader(report, reportBytesMax))
	switch why, ready := cutReady(string(said)); {
	case ready:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("read the new process's report: %w", err)
	case why != "":
		return fmt.Errorf("%w: %s", ErrEnded, why)
	}
	return ErrEnded
}

// leave makes the paths of unix sockets the new process's to remove.
func (s *Sockets) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, socket := range s.used {
		if u, ok := socket.Listener.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
	}
}
