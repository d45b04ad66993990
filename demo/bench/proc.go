//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// usage is what a process and its descendants have taken so far.
type usage struct {
	CPU       float64 // seconds, user and system, threads that have ended included
	RSSKiB    float64
	FDs       float64
	Processes int
}

// usageOf sums a process tree. A process that ends meanwhile counts as nothing.
func usageOf(root int) (usage, error) {
	tree, err := treeOf(root)
	if err != nil {
		return usage{}, err
	}
	var sum usage
	for _, pid := range tree {
		cpu, err := cpuSeconds(pid)
		if err != nil {
			continue
		}
		rss, err := rssKiB(pid)
		if err != nil {
			continue
		}
		fds, err := os.ReadDir(procPath(pid, "fd"))
		if err != nil {
			continue
		}
		sum.CPU += cpu
		sum.RSSKiB += rss
		sum.FDs += float64(len(fds))
		sum.Processes++
	}
	return sum, nil
}

func procPath(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// treeOf lists a process and its descendants.
func treeOf(root int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // has ended
		}
		pid, parent, err := parentOf(string(stat))
		if err != nil {
			return nil, err
		}
		children[parent] = append(children[parent], pid)
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// parentOf reads proc(5)'s stat: "pid (name, which may hold anything) state parent ...".
func parentOf(stat string) (pid, parent int, err error) {
	_, err = fmt.Sscan(stat, &pid)
	after := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[after+1:])
	if err != nil || after < 0 || len(fields) < 2 {
		return 0, 0, fmt.Errorf("a process status that cannot be read: %q", stat)
	}
	parent, err = strconv.Atoi(fields[1])
	return pid, parent, err
}

// cpuSeconds asks the process's CPU clock: the sum that /proc/PID/stat rounds to 10 ms, to the nanosecond. The clock's
// number is what clock_getcpuclockid(3) would return: the complement of the pid, and CPUCLOCK_SCHED in the low bits.
func cpuSeconds(pid int) (float64, error) {
	const schedClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(^int32(pid)<<3|schedClock, &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return float64(t.Nano()) / 1e9, nil
}

func rssKiB(pid int) (float64, error) {
	text, err := os.ReadFile(procPath(pid, "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Rss:"); ok {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		}
	}
	return 0, fmt.Errorf("process %d: smaps_rollup without Rss", pid)
}

// listens tells whether an address is being listened on, without connecting to it: a connection would count.
func listens(address string) bool {
	if strings.HasPrefix(address, "/") {
		_, err := os.Stat(address)
		return err == nil
	}
	_, port, _ := strings.Cut(address, ":")
	number, err := strconv.Atoi(port)
	if err != nil {
		return false
	}
	const stateListen = "0A"
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 3 && fields[3] == stateListen && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) {
				return true
			}
		}
	}
	return false
}

// busySeconds is what all cores of the machine have worked since it started.
func busySeconds() float64 {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	const userHz, idle, wait, guest = 100, 4, 5, 9 // proc(5): the columns that are not work, or are counted elsewhere
	var ticks float64
	for i, field := range strings.Fields(line) {
		if n, err := strconv.ParseFloat(field, 64); err == nil && i != idle && i != wait && i < guest {
			ticks += n
		}
	}
	return ticks / userHz
}

// stageSeconds is what everything on this stage has worked: all processes of its namespace, and those it has waited for.
func stageSeconds() float64 {
	var ended unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &ended); err != nil {
		return 0
	}
	sum := float64(ended.Utime.Nano()+ended.Stime.Nano()) / 1e9
	names, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		if seconds, err := cpuSeconds(pid); err == nil {
			sum += seconds
		}
	}
	return sum
}
