package config

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// SockJS is a sockjs block: browsers below a path, and the programs that they talk to.
type SockJS struct {
	Prefix  string // "/", or "/chat" without a slash at its end; unique
	Push    Target // where programs pull connect, message and disconnect
	Pull    Target // where programs push message, disconnect and broadcast
	Connect bool   // the gateway connects to both; otherwise it binds them
	HWM     int    // messages that wait for each program; 0: left out

	CurveSecretKey Secret // ours; empty: NULL, or a new one for each connection where ServerKey is set
	CurveClients   string // the file of the public keys that may connect; empty: all
	CurveServerKey string // with Connect, the programs' public key; empty: NULL

	MaxMessage      int64         // bytes, of a message of a browser; 0: left out
	MaxSessions     int           // 0: left out
	SendBuffer      int64         // bytes that wait for one browser; 0: left out
	Heartbeat       time.Duration // 0: left out
	DisconnectDelay time.Duration // 0: left out
	NoPeer          NoPeer        // NoPeerWait when left out

	Origins       []string // of pages that may connect; empty: all
	ClientAddress bool     // tell programs
	ClientHeaders []string // tell programs
	Cookie        bool     // JSESSIONID
	WebSocket     bool     // true when left out
	Static        string   // folder of files served below the prefix; empty: none

	Range hcl.Range // of the prefix
}

// NoPeer is a word of sockjs { no_peer }.
type NoPeer string

// What happens to new sessions without a program.
const (
	NoPeerWait   NoPeer = "wait"
	NoPeerRefuse NoPeer = "refuse"
)

const (
	sessionsMax       = 1_000_000
	hwmMax            = 1_000_000
	browserBytesMax   = 8 << 20  // of a message
	sendBufferMax     = 64 << 20 // bytes
	httpPrefixExample = "\"/chat\""
)

var (
	httpPrefix = regexp.MustCompile(`^(/|(/[A-Za-z0-9_~.-]+)+)$`)
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	originForm = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://(\*\.)?[A-Za-z0-9_.-]+(:[0-9]+)?$|^[a-z][a-z0-9+.-]*://\[[0-9A-Fa-f:.]+\](:[0-9]+)?$`)
)

// sockets reads the sockjs blocks.
func (r *reader) sockets(blocks []sockJSSchema) []SockJS {
	all := make([]SockJS, 0, len(blocks))
	for _, b := range blocks {
		s := r.sockJS(b)
		for _, earlier := range all {
			if earlier.Prefix == s.Prefix {
				r.errorAt(b.PrefixRange, "Duplicate prefix", "%s is served at %s already. Give each sockjs block a path of its own.", quoted(s.Prefix), Place(earlier.Range))
				break
			}
		}
		all = append(all, s)
	}
	return all
}

func (r *reader) sockJS(b sockJSSchema) SockJS {
	if !httpPrefix.MatchString(b.Prefix) {
		meant := "/" + strings.Trim(b.Prefix, "/")
		hint := ""
		if httpPrefix.MatchString(meant) {
			hint = " Did you mean " + quoted(meant) + "?"
		}
		r.errorAt(b.PrefixRange, "Bad prefix", "%s is no path such as %s: it begins with a slash, does not end with one, and has no characters that need escapes.%s", quoted(b.Prefix), httpPrefixExample, hint)
	}
	s := SockJS{Prefix: b.Prefix, Connect: r.flag(b.Connect), Range: b.PrefixRange, WebSocket: true}
	s.Push, s.Pull = r.end(b, b.Push, "push", s.Connect), r.end(b, b.Pull, "pull", s.Connect)
	s.HWM, _ = r.count(b.HWM, 1, hwmMax)
	r.sockJSKeys(b, &s)
	s.MaxMessage = r.size(b.MaxMessage, browserBytesMax)
	s.MaxSessions, _ = r.count(b.MaxSessions, 1, sessionsMax)
	s.SendBuffer = r.size(b.SendBuffer, sendBufferMax)
	s.Heartbeat = r.duration(b.Heartbeat, 0)
	s.DisconnectDelay = r.duration(b.DisconnectDelay, 0)
	s.NoPeer = oneOf(r, b.NoPeer, NoPeerWait, NoPeerWait, NoPeerRefuse)
	s.Origins = r.origins(b.Origins)
	s.ClientAddress = r.flag(b.ClientAddress)
	s.ClientHeaders = r.headers(b.ClientHeaders)
	s.Cookie = r.flag(b.Cookie)
	if b.WebSocket != nil {
		s.WebSocket = r.flag(b.WebSocket)
	}
	s.Static = r.folder(b.Static)
	return s
}

// end reads push or pull: where programs are, or where they come to.
func (r *reader) end(b sockJSSchema, a *hcl.Attribute, word string, connects bool) Target {
	if a == nil {
		r.errorAt(b.DefRange, "Browsers without programs", "Say where programs are: push = \"tcp://127.0.0.1:9241\" and pull = \"tcp://127.0.0.1:9242\"; %s is missing.", word)
		return Target{}
	}
	text, ok := r.text(a)
	if !ok {
		return Target{}
	}
	t := Target{Text: text, Range: a.Expr.Range()}
	scheme, rest, found := strings.Cut(text, "://")
	problem := ""
	switch {
	case found && scheme == "tcp" && !connects:
		t.Network, t.Address = "tcp", strings.TrimPrefix(rest, "*") // libzmq's way to say every address
		problem = addressRule{scheme: "tcp://", toListen: true}.problem(t.Address)
	default:
		t, problem = dialTarget(item{text, t.Range})
	}
	if problem != "" {
		r.errorAt(t.Range, "Bad endpoint", "%s: %s", quoted(text), problem)
	}
	return t
}

// sockJSKeys reads the words of CURVE. A bound socket without it is everybody's who can reach it.
func (r *reader) sockJSKeys(b sockJSSchema, s *SockJS) {
	s.CurveSecretKey = r.secretKey(b.CurveSecretKey)
	s.CurveClients = r.checkedPath(b.CurveClients, r.checks.PublicKeys)
	s.CurveServerKey = r.publicKey(b.CurveServerKey)
	switch {
	case b.CurveServerKey != nil && !s.Connect:
		r.errorAt(b.CurveServerKey.NameRange, "A key of nobody", "curve_server_key is the key of programs that the gateway connects to. Here they connect to it: write curve_secret_key, or connect = true.")
	case b.CurveSecretKey != nil && s.Connect && b.CurveServerKey == nil:
		r.errorAt(b.CurveSecretKey.NameRange, "Half of CURVE", "To connect by CURVE the gateway must know the programs' public key: curve_server_key = \"...\"")
	case b.CurveClients != nil && (s.Connect || b.CurveSecretKey == nil):
		r.errorAt(b.CurveClients.NameRange, "A guard without a gate", "curve_clients says which programs may connect by CURVE. It goes with curve_secret_key.")
	}
	if s.Connect || b.CurveSecretKey != nil {
		return
	}
	for _, t := range []Target{s.Push, s.Pull} {
		if t.Network == "tcp" && listenRule.problem(t.Address) == "" && !loopback(t.Address) {
			r.warnAt(t.Range, "Whoever comes is a program", "Everybody who can reach %s can read what browsers say, and answer them. Bind to 127.0.0.1, or ask for a key: curve_secret_key = file(\"gateway.secret\").", quoted(t.Text))
		}
	}
}

// origins reads the origins of pages.
func (r *reader) origins(a *hcl.Attribute) []string {
	items, _ := r.list(a, "https://app.example")
	origins := make([]string, 0, len(items))
	for _, it := range items {
		if it.text != "*" && !originForm.MatchString(it.text) {
			r.errorAt(it.at, "Bad origin", "%s is no origin: a scheme, a host and perhaps a port, as in \"https://app.example\" or \"https://*.example\"; \"*\" stands for all.", quoted(it.text))
		}
		origins = append(origins, it.text)
	}
	return origins
}

// headers reads names of HTTP headers.
func (r *reader) headers(a *hcl.Attribute) []string {
	items, _ := r.list(a, "User-Agent")
	names := make([]string, 0, len(items))
	for _, it := range items {
		if !headerName.MatchString(it.text) {
			r.errorAt(it.at, "Bad header", "%s is no name of an HTTP header, such as \"User-Agent\".", quoted(it.text))
		}
		names = append(names, http.CanonicalHeaderKey(it.text))
	}
	return names
}

// checkBound reports endpoints of sockjs blocks whose address something else has. Blocks may not share them: a program
// would not know whose browsers it talks to.
func (r *reader) checkBound(cfg *Config) {
	type taken struct {
		by, addr string
		at       hcl.Range
	}
	var all []taken
	for _, l := range cfg.Listeners {
		all = append(all, taken{"the listener", l.Addr, l.Range})
	}
	if a := cfg.Admin; a != nil && a.Network == "tcp" {
		all = append(all, taken{"admin", a.Addr, a.Range})
	}
	for _, relay := range cfg.Relays {
		if relay.Workers != nil {
			all = append(all, taken{"a workers' door", relay.Workers.Addr, relay.Workers.Range})
		}
	}
	for _, s := range cfg.SockJS {
		for _, t := range []Target{s.Push, s.Pull} {
			if s.Connect || t.Network == "" {
				continue
			}
			collides := func(other taken) bool {
				return t.Network == "tcp" && overlap(t.Address, other.addr) || t.Network != "tcp" && t.Text == other.addr
			}
			if i := slices.IndexFunc(all, collides); i >= 0 {
				r.errorAt(t.Range, "Duplicate listen address", "%s is taken by %s at %s. Programs need an address of their own here.", quoted(t.Text), all[i].by, Place(all[i].at))
			}
			addr := t.Address
			if t.Network != "tcp" {
				addr = t.Text
			}
			all = append(all, taken{"another endpoint of programs", addr, t.Range})
		}
	}
}
