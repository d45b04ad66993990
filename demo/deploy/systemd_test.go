package deploy

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

// exposureMax is the worst mark, of 100, that `systemd-analyze security` may give the service.
const exposureMax = 12

// settings are a unit's, by section and name.
type settings map[string][]string

func readUnit(t *testing.T, path string) settings {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	options, err := unit.DeserializeOptions(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	all := settings{}
	for _, o := range options {
		all[o.Section+"."+o.Name] = append(all[o.Section+"."+o.Name], o.Value)
	}
	return all
}

// one is the value of a setting that stands there once.
func (s settings) one(t *testing.T, name string) string {
	t.Helper()
	if len(s[name]) != 1 {
		t.Fatalf("%s is %q", name, s[name])
	}
	return s[name][0]
}

func (s settings) duration(t *testing.T, name string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s.one(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestServiceRunsWhatTheBinaryKnows(t *testing.T) {
	service, socket := readUnit(t, "systemd/gateway.service"), readUnit(t, "systemd/gateway.socket")
	cfg := checked(t, "systemd/gateway.hcl")
	checkCommand(t, strings.Fields(service.one(t, "Service.ExecStart"))[1:])
	for name, want := range map[string]string{
		"Service.Type": "notify", "Service.ExecReload": "/bin/kill -HUP $MAINPID", "Service.KillMode": "control-group",
		"Service.RestartPreventExitStatus": "2", "Service.User": "gateway", "Socket.Service": "gateway.service",
	} {
		if have := append(service[name], socket[name]...); len(have) != 1 || have[0] != want {
			t.Errorf("%s is %q, want %q", name, have, want)
		}
	}
	if stop := service.duration(t, "Service.TimeoutStopSec"); stop <= cfg.DrainTimeout+cutGrace {
		t.Errorf("systemd kills after %v what may drain for %v", stop, cfg.DrainTimeout)
	}
	if service.duration(t, "Service.WatchdogSec") <= 0 {
		t.Error("there is no watchdog")
	}
	files, err := strconv.Atoi(service.one(t, "Service.LimitNOFILE"))
	if l := cfg.Listeners[0]; err != nil || files < 2*l.MaxConnections+1000 {
		t.Errorf("%d files for %d connections: %v", files, l.MaxConnections, err)
	}
	if l := cfg.Listeners[0]; socket.one(t, "Socket.ListenStream") != l.Addr || socket.one(t, "Socket.FileDescriptorName") != l.Name {
		t.Errorf("the socket is for %s, the configuration for %s", socket["Socket.ListenStream"], l.Addr)
	}
	if dir := "/run/" + service.one(t, "Service.RuntimeDirectory"); filepath.Dir(cfg.Admin.Addr) != dir {
		t.Errorf("the admin socket %s is not in %s", cfg.Admin.Addr, dir)
	}
	if dir := "/var/lib/" + service.one(t, "Service.StateDirectory"); filepath.Dir(cfg.Meter) != dir {
		t.Errorf("the meter %s is not in %s", cfg.Meter, dir)
	}
	users, err := os.ReadFile("systemd/gateway.sysusers")
	if err != nil || !strings.Contains(string(users), "\nu "+service.one(t, "Service.User")+" ") {
		t.Errorf("nobody makes the user %s: %v", service.one(t, "Service.User"), err)
	}
}

// TestSystemdAcceptsTheUnits has systemd's own reader judge the units, with the binary where the service says that it is.
func TestSystemdAcceptsTheUnits(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"gateway.service", "gateway.socket"} {
		text, err := os.ReadFile(filepath.Join("systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), strings.ReplaceAll(string(text), "/usr/local/bin/gateway", binary), 0o644)
	}
	service, socket := filepath.Join(dir, "gateway.service"), filepath.Join(dir, "gateway.socket")
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", service, socket).CombinedOutput(); err != nil || strings.Contains(string(out), "gateway.") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=yes", fmt.Sprintf("--threshold=%d", exposureMax), service).CombinedOutput()
	if err != nil {
		t.Errorf("the service is too exposed: %v\n%s", err, out)
	}
}

// allowed are the system calls that the unit's filter lets pass, as systemd of this machine knows the sets.
func allowed(t *testing.T, filters []string) map[string]bool {
	t.Helper()
	out, err := exec.Command("systemd-analyze", "--no-pager", "syscall-filter").Output()
	if err != nil {
		t.Fatal(err)
	}
	sets, current := map[string][]string{}, ""
	for line := range strings.Lines(string(out)) {
		word := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "@"):
			current = word
		case word != "" && !strings.HasPrefix(word, "#"):
			sets[current] = append(sets[current], word)
		}
	}
	calls := map[string]bool{}
	var set func(name string, may bool)
	set = func(name string, may bool) {
		if members, ok := sets[name]; ok {
			for _, member := range members {
				set(member, may)
			}
			return
		}
		calls[name] = may
	}
	for _, filter := range filters {
		names, denied := strings.CutPrefix(filter, "~")
		for name := range strings.FieldsSeq(names) {
			set(name, !denied)
		}
	}
	return calls
}

// TestServiceMakesNoSystemCallThatItsUnitForbids follows a gateway through its life: traffic, a reload, an upgrade, a stop.
func TestServiceMakesNoSystemCallThatItsUnitForbids(t *testing.T) {
	filters := readUnit(t, "systemd/gateway.service")["Service.SystemCallFilter"]
	may := allowed(t, filters)
	if !may["epoll_wait"] || !may["prlimit64"] || may["setrlimit"] || may["mount"] || may["ptrace"] {
		t.Fatalf("the filter is misread: %v", may)
	}
	dir := t.TempDir()
	trace, admin := filepath.Join(dir, "trace"), filepath.Join(dir, "admin.sock")
	text, err := os.ReadFile("systemd/gateway.hcl")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "gateway.hcl")
	put(t, path, strings.NewReplacer("/run/gateway/admin.sock", admin, "/var/lib/gateway/meter.json", filepath.Join(dir, "meter.json"),
		"127.0.0.1:5560", echo(t)).Replace(anyPort(string(text))), 0o600)
	g := run(t, exec.Command("strace", "-f", "-qq", "-o", trace, binary, "serve", "-config", path))
	first, err := strconv.Atoi(g.wait(`"msg":"ready".*"pid":(\d+)`))
	if err != nil {
		t.Fatal(err)
	}
	relayed(t, g.wait(`"name":"public","addr":"([^"]+)"`))
	if out, err := exec.Command(binary, "probe", g.wait(`"name":"public","addr":"([^"]+)"`)).CombinedOutput(); len(out) == 0 {
		t.Errorf("nothing was probed: %v", err)
	}
	if err := syscall.Kill(first, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	g.wait(`"msg":"reloaded","generation":2`)
	if out, err := exec.Command(binary, "upgrade", "-admin", "unix://"+admin).CombinedOutput(); err != nil {
		t.Fatalf("upgrade: %v\n%s", err, out)
	}
	second, err := strconv.Atoi(g.wait(`"msg":"draining","successor":(\d+)`))
	if err != nil {
		t.Fatal(err)
	}
	g.wait(`"msg":"stopped"`)
	g.stop(second)
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\d+\s+(?:<\.\.\. )?([a-z0-9_]+)(?:\(| resumed)`).FindAllStringSubmatch(string(calls), -1) {
		seen[m[1]] = true
	}
	for call := range seen {
		if !may[call] {
			t.Errorf("the gateway calls %s, which SystemCallFilter forbids", call)
		}
	}
	if len(seen) < 30 || !seen["accept4"] || !seen["execve"] {
		t.Errorf("only %d kinds of calls were seen: %v", len(seen), seen)
	}
}

// echo is a server that sends back what it gets.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 64)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// relayed sends the beginning of ZMTP through the gateway and back.
func relayed(t *testing.T, addr string) {
	t.Helper()
	signature := []byte{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(signature); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(signature))
	if n, err := c.Read(b); err != nil || n == 0 || b[0] != 0xff {
		t.Fatalf("nothing comes back: %v %x", err, b[:n])
	}
}
