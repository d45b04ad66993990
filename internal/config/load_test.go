package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
)

const served = `
listen "127.0.0.1:5555" {}
relay "messages" {
  dial = ["tcp://127.0.0.1:5560"]
}
`

// mustParse parses what has to be right.
func mustParse(t *testing.T, src string) *Config {
	t.Helper()
	cfg, diags := Parse(filepath.Join(t.TempDir(), "gateway.hcl"), []byte(src))
	if len(diags.Diagnostics) > 0 {
		t.Fatalf("not accepted: %v", diags.Diagnostics)
	}
	return cfg
}

func TestNewcomersFileLoadsWithoutAWord(t *testing.T) {
	cfg, diags := Load("../../gateway.hcl")
	if len(diags.Diagnostics) > 0 {
		t.Fatalf("gateway.hcl: %v", diags.Diagnostics)
	}
	if len(cfg.Listeners) != 1 || len(cfg.Relays) != 1 || len(cfg.Routes) != 1 || cfg.Admin == nil {
		t.Errorf("gateway.hcl configures less than it shows: %+v", cfg)
	}
}

// fullRelays are the relays of demo/full.hcl.
var fullRelays = []Relay{
	{
		Name: "telemetry",
		Match: Match{
			Protocol: ZMTP, Listen: []string{"public"}, Percent: 90,
			Source: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
			Introduction: Introduction{
				Mechanism: []string{"NULL"}, SocketType: []string{"PUSH", "PAIR"}, Identity: "legacy-",
			},
		},
		Dial: []Target{
			{Text: "tcp://127.0.0.1:3333", Network: "tcp", Address: "127.0.0.1:3333"},
			{Text: "unix:///run/pull.sock", Network: "unix", Address: "/run/pull.sock"},
			{Text: "ipc:///run/pull-too.sock", Network: "unix", Address: "/run/pull-too.sock"},
		},
		Balance: LeastConnections, IdleTimeout: time.Hour, ConnectTimeout: 5 * time.Second, ProxyHeader: true,
	},
	{
		Name: "vault",
		Match: Match{
			Protocol: ZMTP, Listen: []string{"inside"}, Percent: 100, Introduction: Introduction{Mechanism: []string{"CURVE"}},
		},
		Balance: LeastConnections,
		Workers: &Workers{
			Addr: "127.0.0.1:5556", Source: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Agents: true, MaxWait: 22 * time.Second,
			Wait: 20 * time.Second, MaxWaiting: 1000, HandshakeTimeout: 10 * time.Second,
			Affinity: AffinitySource, AffinityWait: time.Second,
		},
	},
	{
		Name: "telemetry_next", Match: Match{Protocol: ZMTP, Percent: 100}, Balance: LeastConnections,
		Dial: []Target{{Text: "tcp://127.0.0.1:3334", Network: "tcp", Address: "127.0.0.1:3334"}},
	},
	{
		Name: "pages", Match: Match{Protocol: TLS, Percent: 100, SNI: []string{"www.example", "*.pages.example"}}, Balance: LeastConnections,
		Dial: []Target{{Text: "tcp://127.0.0.1:8443", Network: "tcp", Address: "127.0.0.1:8443"}},
	},
	{
		Name: "ssh", Match: Match{Protocol: SSH, Percent: 100}, Balance: LeastConnections,
		Dial: []Target{{Text: "tcp://127.0.0.1:22", Network: "tcp", Address: "127.0.0.1:22"}},
	},
}

// fullSockJS are the sockjs blocks of demo/full.hcl.
var fullSockJS = []SockJS{{
	Prefix: "/chat", HWM: 1000, MaxMessage: 64 << 10, MaxSessions: 10000, SendBuffer: 1 << 20,
	Push:      Target{Text: "tcp://127.0.0.1:9241", Network: "tcp", Address: "127.0.0.1:9241"},
	Pull:      Target{Text: "tcp://127.0.0.1:9242", Network: "tcp", Address: "127.0.0.1:9242"},
	Heartbeat: 25 * time.Second, DisconnectDelay: 5 * time.Second, NoPeer: NoPeerWait, Origins: []string{"*"},
	ClientAddress: true, ClientHeaders: []string{"User-Agent"}, WebSocket: true, Static: "../../demo/browser",
}}

// fullZMQs are the zmq blocks of demo/full.hcl.
var fullZMQs = []ZMQ{
	{
		Name: "greet", Socket: "REP", Method: "/demo.v1.Greeter/SayHello", Payload: "proto",
		Match: Match{
			Protocol: ZMTP, Listen: []string{"public"}, Percent: 100,
			Introduction: Introduction{Mechanism: []string{"NULL"}, SocketType: []string{"REQ"}, Identity: "v1-"},
		},
		Timeout: 30 * time.Second, HWM: 1000, MaxMessage: 16 << 20,
		To:      []To{{Backend: "greeter", Weight: 99}, {Backend: "greeter_zmq", Weight: 1}},
		Mirrors: []Mirror{{Backend: "greeter_next", Percent: 25, Compare: "proto", Ignore: []string{"served_by"}, Samples: 3}},
	},
	{
		Name: "news", Socket: "PUB", Method: "/demo.v1.Greeter/SayHelloServerStream", Payload: "proto", TopicField: 1,
		Match: Match{Protocol: ZMTP, Percent: 100, Introduction: Introduction{Mechanism: []string{"NULL"}, SocketType: []string{"SUB", "XSUB"}}},
		To:    []To{{Backend: "greeter", Weight: 1}},
	},
}

// fullBackends are the backends of demo/full.hcl.
var fullBackends = []Backend{
	{
		Name: "greeter", Balance: LeastRequest, Authority: "greeter.example", Health: "demo.v1.Greeter",
		Targets: []Target{
			{Text: "127.0.0.1:50051", Network: "tcp", Address: "127.0.0.1:50051"},
			{Text: "dns:///greeter.internal:50051", Network: "tcp", Address: "greeter.internal:50051"},
			{Text: "srv:///greeter.internal", Network: "tcp", Address: "greeter.internal"},
		},
	},
	{
		Name: "greeter_next", Balance: LeastRequest,
		Targets: []Target{{Text: "unix:///run/greeter-next.sock", Network: "unix", Address: "/run/greeter-next.sock"}},
	},
	{
		Name: "greeter_zmq",
		Targets: []Target{
			{Text: "tcp://127.0.0.1:5560", Network: "tcp", Address: "127.0.0.1:5560"},
			{Text: "ipc:///run/greeter.sock", Network: "unix", Address: "/run/greeter.sock"},
		},
		ZMQ: &ZMQService{Socket: "DEALER", HWM: 1000, MaxMessage: 16 << 20, Payload: "proto"},
	},
}

// fullCallRules are the words of the first grpc block of demo/full.hcl that are about its calls.
var fullCallRules = CallRules{
	Metadata:     map[string]string{"x-tenant": "blue", "x-user": "a*", "x-trace": "*"},
	WaitForReady: true, Rate: 5000, MaxConcurrent: 2000,
	SetMetadata: map[string]string{"x-gateway": "edge"}, RemoveMetadata: []string{"x-internal"},
	Retry:   &Retry{Attempts: 3, On: []uint32{14}, Budget: 0.2, Backoff: 25 * time.Millisecond},
	Mirrors: []Mirror{{Backend: "greeter_next", Percent: 25, Compare: "proto", Ignore: []string{"served_by"}, Samples: 5}},
}

func TestEveryWordArrivesWithItsValue(t *testing.T) {
	cfg, diags := Load("../../demo/full.hcl")
	if len(diags.Diagnostics) > 0 {
		t.Fatalf("demo/full.hcl: %v", diags.Diagnostics)
	}
	want := &Config{
		Listeners: []Listener{
			{
				Network: "tcp", Addr: "0.0.0.0:5555", Name: "public", SniffTimeout: 5 * time.Second, MaxConnections: 20000, MaxSniffing: 2000,
				Source:  []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
				Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")},
			},
			{Network: "tcp", Addr: "127.0.0.1:5557", Name: "inside"},
			{Network: "unix", Addr: "/run/gateway/edge.sock", Name: "local", AllProxies: true},
		},
		Backends: fullBackends,
		ZMQs:     fullZMQs,
		Relays:   fullRelays,
		Routes: []Route{
			{
				Pattern: "/demo.v1.Greeter/SayHello", Timeout: 2 * time.Second, MaxMessage: 16 << 20,
				To:        []To{{Backend: "greeter", Weight: 90}, {Backend: "greeter_next", Weight: 10}},
				CallRules: fullCallRules,
			},
			{Pattern: "/demo.v1.Greeter/*", To: []To{{Backend: "greeter", Weight: 9}, {Backend: "greeter_zmq", Weight: 1}}},
			{Pattern: "*", To: []To{{Backend: "greeter_next", Weight: 1}}},
		},
		SockJS:       fullSockJS,
		Limits:       Limits{PerSource: 1000, NewPerSource: 200, Held: 500, Buffers: 256 << 20},
		Meter:        "../../demo/meter.json",
		Admin:        &Admin{Network: "tcp", Addr: "127.0.0.1:9901"},
		Telemetry:    &Telemetry{OTLP: "http://127.0.0.1:4318", Ratio: 0.1},
		Log:          Log{Format: LogText, Level: slog.LevelInfo},
		DrainTimeout: 30 * time.Second,
	}
	if left := forgetPlaces(reflect.ValueOf(cfg)); left == 0 {
		t.Error("no value knows its place in the file")
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", cfg, want)
	}
}

// forgetPlaces empties every hcl.Range below v and treats an empty slice as none. It returns how many places there were.
func forgetPlaces(v reflect.Value) (places int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			places += forgetPlaces(v.Elem())
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]netip.Prefix]() || v.Len() == 0 {
			if v.Len() == 0 {
				v.SetZero()
			}
			return 0
		}
		for i := range v.Len() {
			places += forgetPlaces(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[hcl.Range]() {
			if v.Interface().(hcl.Range).Start.Line > 0 {
				places = 1
			}
			v.SetZero()
			return places
		}
		for i := range v.NumField() {
			places += forgetPlaces(v.Field(i))
		}
	}
	return places
}

func TestWhatIsLeftOutHasItsDefault(t *testing.T) {
	cfg := mustParse(t, served+"admin {}\nlog {}\n")
	if cfg.DrainTimeout != 30*time.Second || cfg.Log != (Log{Format: LogText, Level: slog.LevelInfo}) {
		t.Errorf("drain_timeout %v, log %+v", cfg.DrainTimeout, cfg.Log)
	}
	if l := cfg.Listeners[0]; l.Name != "127.0.0.1:5555" || l.SniffTimeout != 0 || l.MaxConnections != 0 || l.MaxSniffing != 0 {
		t.Errorf("listener %+v", l)
	}
	if a := cfg.Admin; a.Network != "tcp" || a.Addr != "127.0.0.1:9901" || a.Token != "" || a.Pprof {
		t.Errorf("admin %+v", a)
	}
	if cfg = mustParse(t, served); cfg.Admin != nil {
		t.Errorf("an admin port that nobody asked for: %+v", cfg.Admin)
	}
}

func TestBindErrorsCanNameTheirPlace(t *testing.T) {
	cfg, diags := Parse("gateway.hcl", []byte(served))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if place := Place(cfg.Listeners[0].Range); place != "gateway.hcl:2" {
		t.Errorf("the listener is at %s, want gateway.hcl:2", place)
	}
}

func TestValuesCanComeFromTheEnvironmentAndFromFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte("  swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATEWAY_TEST_LEVEL", "debug")
	cfg, diags := Parse(filepath.Join(dir, "gateway.hcl"), []byte(served+`
admin {
  listen = "0.0.0.0:9901"
  token  = file("admin.token")
  pprof  = true
}
log {
  level = env("GATEWAY_TEST_LEVEL")
}`))
	if len(diags.Diagnostics) > 0 {
		t.Fatal(diags)
	}
	if string(cfg.Admin.Token) != "swordfish" || !cfg.Admin.Pprof || cfg.Log.Level != slog.LevelDebug {
		t.Errorf("token %q, level %v", string(cfg.Admin.Token), cfg.Log.Level)
	}
}

func TestUnreadableFilesAreExplained(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.hcl")
	if err := os.WriteFile(large, make([]byte, fileBytesMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "gateway.hcl"), "`gateway demo` needs none"},
		{large, "larger than 256 KiB"},
		{dir, "is a directory"},
	} {
		var out strings.Builder
		cfg, diags := Load(c.path)
		if err := diags.Write(&out, 0, false); err != nil {
			t.Fatal(err)
		}
		if cfg != nil || !diags.HasErrors() || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: got %q, want it to say %q", c.path, out.String(), c.want)
		}
	}
}

func TestPipeInsteadOfAKeyDoesNotHangTheReload(t *testing.T) {
	_, diags := Parse("gateway.hcl", []byte(served+"admin {\n  token = file(\"/dev/zero\")\n}\n"))
	if !diags.HasErrors() || !strings.Contains(diags.Error(), "not a regular file") {
		t.Errorf("file(\"/dev/zero\") was answered with %v", diags)
	}
}

// A file that a word names is part of the configuration: who watches it sees that it has changed.
func TestAnotherContentOfANamedFileIsAnotherConfiguration(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users.txt")
	load := func(text string) *Config {
		t.Helper()
		if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, diags := Parse("test.hcl", fmt.Appendf(nil, `
listen "127.0.0.1:5555" {}
backend "greeter" { grpc = ["127.0.0.1:50051"] }
zmq "greet" {
  socket      = "REP"
  method      = "/demo.v1.Greeter/SayHello"
  plain_users = %q
  to "greeter" {}
}
`, users))
		if diags.HasErrors() {
			t.Fatal(diags.Diagnostics)
		}
		return cfg
	}
	before, after := load("alice:secret"), load("alice:secret\nbob:secret")
	if reflect.DeepEqual(before, after) {
		t.Error("a user who was added changes nothing")
	}
	if len(after.Files) != 1 || after.Files[0].Path != users {
		t.Errorf("the files are %v", after.Files)
	}
}
