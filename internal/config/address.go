package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

const (
	portMax          = 65535
	socketPathMax    = 107 // bytes: sun_path of unix(7) without its final zero
	adminAddrDefault = "127.0.0.1:9901"
)

var (
	hostName    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)
	onlyNumbers = regexp.MustCompile(`^[0-9.]+$`)
)

// addressRule is what an address must be: host:port, here for listening or for dialling.
type addressRule struct {
	scheme   string // written in front, for suggestions
	toListen bool   // the host may be missing (every address), and the port may be 0 (any free one)
}

var listenRule = addressRule{toListen: true}

// problem tells what is wrong with an address, or returns "".
func (rule addressRule) problem(addr string) string {
	if scheme, rest, found := strings.Cut(addr, "://"); found {
		return fmt.Sprintf("An address stands here without %s:// in front. Did you mean %q?", scheme, rule.scheme+rest)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return rule.splitProblem(addr)
	}
	portMin := 1
	if rule.toListen {
		portMin = 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Sprintf("The port %s is not a number.", quoted(port))
	}
	if n < portMin || n > portMax {
		return fmt.Sprintf("The port %s is out of range: ports go from %d to %d.", quoted(port), portMin, portMax)
	}
	if host == "" && !rule.toListen {
		return fmt.Sprintf("The host is missing. Did you mean %q?", rule.scheme+"127.0.0.1:"+port)
	}
	if host == "" {
		return ""
	}
	return hostProblem(host)
}

// splitProblem tells why host and port could not be told apart.
func (rule addressRule) splitProblem(addr string) string {
	if _, err := strconv.Atoi(addr); err == nil {
		return fmt.Sprintf("The host is missing. Did you mean %q?", rule.scheme+"127.0.0.1:"+addr)
	}
	if strings.Count(addr, ":") > 1 && !strings.Contains(addr, "[") {
		return fmt.Sprintf("An IPv6 address stands in brackets, as in %q.", rule.scheme+"[::1]:5555")
	}
	if hostName.MatchString(addr) {
		return fmt.Sprintf("The port is missing: %q.", rule.scheme+addr+":PORT")
	}
	return fmt.Sprintf("An address is a host and a port, as in %q, %q or %q.", rule.scheme+"127.0.0.1:5555", rule.scheme+"[::1]:5555", rule.scheme+"name:5555")
}

// hostProblem tells what is wrong with an IP address or a host name, or returns "".
func hostProblem(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	if onlyNumbers.MatchString(host) {
		return fmt.Sprintf("%s is not an IP address: four numbers from 0 to 255.", quoted(host))
	}
	if !hostName.MatchString(host) {
		return fmt.Sprintf("%s is neither an IP address nor a host name.", quoted(host))
	}
	return ""
}

// socketProblem tells what is wrong with the path of a unix socket, or returns "".
func socketProblem(scheme, path string) string {
	switch {
	case path == "" || path == "/" || path == "@":
		return fmt.Sprintf("The path is missing: %q.", scheme+"/run/NAME.sock")
	case !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@"):
		return fmt.Sprintf("The path must be absolute. Did you mean %q?", scheme+"/"+path)
	case len(path) > socketPathMax:
		return fmt.Sprintf("The path is %d bytes long; a socket's path has at most %d.", len(path), socketPathMax)
	case strings.ContainsRune(path, 0):
		return "The path contains a zero byte."
	}
	return ""
}

// overlap reports whether two addresses cannot be listened on at the same time: one unix socket, or one port, and hosts of
// which one is the other or stands for every address. Port 0 overlaps with nothing.
func overlap(a, b string) bool {
	if strings.HasPrefix(a, "/") || strings.HasPrefix(a, "@") {
		return a == b
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portNumber(portA) != portNumber(portB) || portNumber(portA) == 0 {
		return false
	}
	ipA, knownA := hostAddr(hostA)
	ipB, knownB := hostAddr(hostB)
	if !knownA || !knownB {
		return strings.EqualFold(hostA, hostB) || knownA && ipA == netip.IPv6Unspecified() || knownB && ipB == netip.IPv6Unspecified()
	}
	return ipA == ipB || covers(ipA, ipB) || covers(ipB, ipA)
}

// covers reports whether listening on the unspecified address a takes b's as well. [::] takes IPv4 too.
func covers(a, b netip.Addr) bool {
	return a.IsUnspecified() && (a.Is6() || b.Is4())
}

// hostAddr is the IP address of a host as far as it is known without a resolver.
func hostAddr(host string) (netip.Addr, bool) {
	switch strings.ToLower(host) {
	case "":
		return netip.IPv6Unspecified(), true
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	ip, err := netip.ParseAddr(host)
	return ip.Unmap(), err == nil
}

// loopback reports whether an address can be reached from this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, known := hostAddr(host)
	return known && ip.IsLoopback()
}

func portNumber(port string) int {
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}
