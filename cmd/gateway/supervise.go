package main

// What a service manager is told, by the protocol of sd_notify(3), and what else it may want: a pid file.

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// States as the service manager knows them.
const (
	stateReady    = daemon.SdNotifyReady
	stateStopping = daemon.SdNotifyStopping
	stateAlive    = daemon.SdNotifyWatchdog
)

// statesReloading is the state of a service that loads its configuration; the time tells which of several READY belongs to it.
func statesReloading() []string {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return []string{daemon.SdNotifyReloading}
	}
	return []string{daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond))}
}

// notifier tells the service manager, if there is one.
func notifier(log *slog.Logger) func(state ...string) {
	return func(state ...string) {
		if err := notify(strings.Join(state, "\n")); err != nil {
			log.Warn("the service manager was not told", "state", strings.Join(state, " "), "error", err)
		}
	}
}

// notifyWait is how long a service manager that does not read may keep a reload or a stop waiting. daemon.SdNotify has no limit.
const notifyWait = time.Second

// notify sends a state to where the environment says, if it does (sd_notify(3)).
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyWait)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}

// feedWatchdog tells the service manager that all is well, twice in the time after which it would end this process, until stop
// is closed. well must return for that: it looks at everything that a lock could keep.
func feedWatchdog(tell func(state ...string), well func(), stop <-chan struct{}, log *slog.Logger) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "error", err)
	}
	if limit <= 0 {
		return
	}
	go func() {
		tick := time.NewTicker(limit / 2)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				well()
				tell(stateAlive)
			}
		}
	}()
}

// pidFile is a file that holds this process's id. The zero value is none.
type pidFile string

// write puts another file in the place of what is there: nobody reads half a number.
func (p pidFile) write() error {
	if p == "" {
		return nil
	}
	temp := string(p) + ".new"
	if err := os.WriteFile(temp, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	if err := os.Rename(temp, string(p)); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}

// remove removes the file, unless another process has written its own.
func (p pidFile) remove(log *slog.Logger) {
	if p == "" {
		return
	}
	text, err := os.ReadFile(string(p))
	if err == nil && strings.TrimSpace(string(text)) != strconv.Itoa(os.Getpid()) {
		return
	}
	if err := os.Remove(string(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the pid file stays", "error", err)
	}
}
