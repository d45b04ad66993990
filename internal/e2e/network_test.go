//go:build libzmq

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// network is a gateway's machine of its own: a network namespace with two links to the test. Over the one come clients, over
// the other the gateway reaches backends. Such a test needs root, iproute2 and nftables.
type network struct{ t *testing.T }

// link is a veth pair; both ends have the same name.
type link struct{ name, outside, gateway string }

var (
	clientLink  = link{"gwe2e-clients", "198.51.100.1", "198.51.100.2"} // RFC 5737: in no real network
	backendLink = link{"gwe2e-backends", "203.0.113.1", "203.0.113.2"}
	links       = []link{clientLink, backendLink}
)

const namespace = "gateway-e2e"

// newNetwork waits until no other test of this machine has one.
func newNetwork(t *testing.T) *network {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), namespace+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	n := &network{t}
	remove := func() { // also what a killed test has left; the namespace alone would take its links with it later
		for _, l := range links {
			exec.Command("ip", "link", "delete", l.name).Run()
		}
		exec.Command("ip", "netns", "delete", namespace).Run()
	}
	remove()
	t.Cleanup(func() {
		remove()
		lock.Close()
	})
	n.run("", "ip", "netns", "add", namespace)
	n.run("", "ip", "-netns", namespace, "link", "set", "lo", "up")
	for _, l := range links {
		n.run("", "ip", "link", "add", l.name, "type", "veth", "peer", "name", l.name, "netns", namespace)
		n.run("", "ip", "address", "add", l.outside+"/24", "dev", l.name)
		n.run("", "ip", "link", "set", l.name, "up")
		n.run("", "ip", "-netns", namespace, "address", "add", l.gateway+"/24", "dev", l.name)
		n.run("", "ip", "-netns", namespace, "link", "set", l.name, "up")
	}
	return n
}

func (n *network) run(input, name string, args ...string) string {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%sThis test needs root, iproute2 and nftables.", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// inside runs a command on the gateway's machine.
func (n *network) inside(input string, args ...string) string {
	n.t.Helper()
	return n.run(input, "ip", append([]string{"netns", "exec", namespace}, args...)...)
}

// startGateway runs the gateway on its machine; only a unix socket for the admin server is reached by the test at all times.
func (n *network) startGateway(config string) *gatewayProcess {
	n.t.Helper()
	admin := fmt.Sprintf("admin { listen = \"unix://%s/admin.sock\" }\n", n.t.TempDir())
	return startGatewayBy(n.t, config+admin, []string{"ip", "netns", "exec", namespace})
}

// lose drops packets at random, in both directions of both links.
func (n *network) lose(percent int) {
	n.t.Helper()
	drop := fmt.Sprintf("numgen random mod 100 < %d counter drop", percent)
	n.inside(fmt.Sprintf(`table inet loss {
	chain in {
		type filter hook input priority 0
		iifname "gwe2e-*" %s
	}
	chain out {
		type filter hook output priority 0
		oifname "gwe2e-*" %s
	}
}
`, drop, drop), "nft", "-f", "-")
}

var droppedPackets = regexp.MustCompile(`counter packets (\d+)`)

// dropped tells how many packets are gone since lose, on their way to the gateway and from it.
func (n *network) dropped() (in, out int) {
	n.t.Helper()
	counters := droppedPackets.FindAllStringSubmatch(n.inside("", "nft", "list", "table", "inet", "loss"), -1)
	if len(counters) != 2 {
		n.t.Fatalf("nft shows %v", counters)
	}
	in, err := strconv.Atoi(counters[0][1])
	must(n.t, err)
	out, err = strconv.Atoi(counters[1][1])
	must(n.t, err)
	return in, out
}

// silence cuts a link as a pulled cable does: nobody is told. restore plugs it in again.
func (n *network) silence(l link) {
	n.t.Helper()
	n.run("", "ip", "link", "set", l.name, "down")
}

func (n *network) restore(l link) {
	n.t.Helper()
	n.run("", "ip", "link", "set", l.name, "up")
}
