// Package deploy holds what the folder offers for running the gateway against the gateway: each file is read by a real
// reader of its format, its commands, ports and paths are compared with the binary, and the binary runs as it says.
package deploy

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// instruction is one of a Dockerfile.
type instruction struct{ word, rest string }

// dockerfile reads the Dockerfile: an instruction a line, comments apart.
func dockerfile() (all []instruction, err error) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		return nil, err
	}
	known := []string{"FROM", "ARG", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if !slices.Contains(known, word) {
			return nil, fmt.Errorf("Dockerfile: no instruction begins with %q", line)
		}
		all = append(all, instruction{word, rest})
	}
	return all, nil
}

// image is the last stage: what is in the image.
func image(t *testing.T) []instruction {
	t.Helper()
	all, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range slices.Backward(all) {
		if in.word == "FROM" {
			return all[i:]
		}
	}
	t.Fatal("the Dockerfile has no FROM")
	return nil
}

// value is the rest of the only instruction of that name.
func value(t *testing.T, all []instruction, word string) string {
	t.Helper()
	var found []string
	for _, in := range all {
		if in.word == word {
			found = append(found, in.rest)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the image has %d %s", len(found), word)
	}
	return found[0]
}

func list(t *testing.T, text string) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &words); err != nil {
		t.Fatalf("%s is no list, so a shell would be needed: %v", text, err)
	}
	return words
}

// buildAsTheDockerfileDoes runs the Dockerfile's own command, with another place for what it makes.
func buildAsTheDockerfileDoes(out string) error {
	all, err := dockerfile()
	if err != nil {
		return err
	}
	for _, in := range all {
		if in.word != "RUN" || !strings.Contains(in.rest, "go build") {
			continue
		}
		if !strings.Contains(in.rest, "-o /out/gateway") {
			return fmt.Errorf("the Dockerfile builds elsewhere: %s", in.rest)
		}
		cmd := exec.Command("sh", "-c", strings.Replace(in.rest, "/out/gateway", out, 1))
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "VERSION=of-the-test")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", in.rest, err, text)
		}
		return nil
	}
	return fmt.Errorf("the Dockerfile builds nothing")
}

func TestImageHoldsAStaticBinaryAndNothingThatRunsBesides(t *testing.T) {
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary needs a dynamic linker, which the image does not have")
		}
	}
	if out, err := exec.Command(binary, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "of-the-test") {
		t.Errorf("the version does not arrive in the binary: %v %s", err, out)
	}
	last := image(t)
	if base := value(t, last, "FROM"); base != "scratch" {
		t.Errorf("the image is made from %s", base)
	}
	for _, in := range last {
		if in.word == "RUN" {
			t.Errorf("scratch has no shell for RUN %s", in.rest)
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	all, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	if from := strings.Fields(all[0].rest)[0]; !strings.Contains(string(mod), "\ngo "+strings.TrimPrefix(from, "golang:")+".") {
		t.Errorf("%s builds what go.mod asks another version for", from)
	}
}

// TestImageRunsWithoutRootAndShell runs the binary in a root directory that holds what the image does, as its user, as its
// command says.
func TestImageRunsWithoutRootAndShell(t *testing.T) {
	last := image(t)
	user, group, ok := strings.Cut(value(t, last, "USER"), ":")
	uid, err1 := strconv.Atoi(user)
	gid, err2 := strconv.Atoi(group)
	if !ok || err1 != nil || err2 != nil || uid == 0 || gid == 0 {
		t.Fatalf("USER %s:%s: Kubernetes can tell only from numbers that it is not root", user, group)
	}
	command := append(list(t, value(t, last, "ENTRYPOINT")), list(t, value(t, last, "CMD"))...)
	checkCommand(t, command[1:])

	top := t.TempDir()
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(top, command[0]), string(text), 0o755)
	put(t, filepath.Join(top, "etc/gateway/gateway.hcl"), anyPort(configMap(t)), 0o644)
	g := run(t, &exec.Cmd{
		Path: command[0], Args: command, Dir: "/",
		Env: []string{"ADMIN_TOKEN=for-the-test", "AGENT_TOKEN=for-the-test-too"},
		SysProcAttr: &syscall.SysProcAttr{
			Chroot:      top,
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getgid(), Size: 1}},
		},
	})
	g.wait(`"msg":"ready"`)
	admin := "http://" + g.wait(`"name":"admin","addr":"([^"]+)"`)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 401, "/status": 401} {
		if code, _ := get(t, http.DefaultClient, admin+path); code != want {
			t.Errorf("GET %s is answered %d, want %d", path, code, want)
		}
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid)); err != nil || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
		t.Errorf("it has capabilities: %v\n%s", err, status)
	}
	g.stop(g.cmd.Process.Pid)
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
