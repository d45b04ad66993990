//go:build libzmq

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	zmq "github.com/pebbe/zmq4"
)

// answerRole names the endpoints, as PULL,PUSH, that a copy of the test binary connects an echo program to: one that can be
// killed.
const answerRole = "GATEWAY_E2E_ANSWER"

func init() {
	ends, given := os.LookupEnv(answerRole)
	if !given {
		return
	}
	from, to, _ := strings.Cut(ends, ",")
	pull, err1 := zmq.NewSocket(zmq.PULL)
	push, err2 := zmq.NewSocket(zmq.PUSH)
	err := errors.Join(err1, err2)
	if err == nil {
		err = errors.Join(pull.Connect(from), push.Connect(to))
	}
	for err == nil {
		var m []string
		if m, err = pull.RecvMessage(0); err == nil && m[0] == "message" {
			_, err = push.SendMessage(m)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// startEcho runs an echo program in a process of its own.
func (g *gatewayProcess) startEcho(t *testing.T) (kill func()) {
	t.Helper()
	_, kill = g.startEchoProcess(t)
	return kill
}

func (g *gatewayProcess) startEchoProcess(t *testing.T) (cmd *exec.Cmd, kill func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), answerRole+"="+g.programEnd("PUSH")+","+g.programEnd("PULL"))
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(kill)
	return cmd, kill
}

func TestBrowsersOutliveTheirProgram(t *testing.T) {
	g := startGateway(t, chatConfig(""))
	kill := g.startEcho(t)
	b := visit(t, g.chat())
	must(t, b.ask("before", "before"))
	for round := range 3 {
		kill()
		eventually(t, browserWait, "the gateway has noticed", func() bool { return strings.Contains(g.get("/status"), `"programs": 0`) })
		text := fmt.Sprint("while nobody is there ", round)
		must(t, b.WriteMessage(websocket.TextMessage, []byte(text)))
		kill = g.startEcho(t)
		must(t, b.hear(text), b.ask("after", "after"))
	}
}

func TestWhatDiesWithItsProgramIsCounted(t *testing.T) {
	g := startGateway(t, chatConfig("hwm = 10"))
	stopped, kill := g.startEchoProcess(t)
	b := visit(t, g.chat())
	must(t, b.ask("before", "before"), stopped.Process.Signal(syscall.SIGSTOP))
	var written atomic.Int64
	go func() {
		filler := []byte(strings.Repeat("x", 60<<10))
		for b.WriteMessage(websocket.TextMessage, filler) == nil {
			written.Add(1)
		}
	}()
	const same = 100 // looks at a gateway that answers them
	last, times := int64(-1), 0
	eventually(t, browserWait, "the browser has to wait", func() bool {
		g.get("/healthz")
		if n := written.Load(); n != last {
			last, times = n, 0
		}
		times++
		return times > same
	})
	kill()
	eventually(t, browserWait, "what was queued is counted", func() bool {
		return g.metric(`gateway_sockjs_dropped_total{block="/chat",reason="program_lost"}`) > 0
	})
	g.startEcho(t)
	must(t, b.hear(strings.Repeat("x", 60<<10)))
}

func TestSeveralProgramsShareTheBrowsers(t *testing.T) {
	const programs, messages = 3, 300
	g := startGateway(t, chatConfig(""))
	var all []*zmqProgram
	for range programs {
		all = append(all, g.runProgram(t, echoOrBye))
	}
	eventually(t, browserWait, "all are there", func() bool { return strings.Contains(g.get("/status"), fmt.Sprintf(`"programs": %d`, programs)) })
	b := visit(t, g.chat())
	for i := range messages {
		text := fmt.Sprint(i)
		must(t, b.ask(text, text))
	}
	for i, p := range all {
		if n := p.count("message"); n < messages/programs-1 || n > messages/programs+1 {
			t.Errorf("program %d heard %d of %d messages", i, n, messages)
		}
	}
}

func TestManyBrowsersAtOnce(t *testing.T) {
	g := startGatewayBy(t, chatConfig("max_sessions = 5000"), []string{"prlimit", "--nofile=8192:8192"})
	p := g.runProgram(t, echoOrBye, func(s *zmq.Socket) { must(t, s.SetSndhwm(0), s.SetRcvhwm(0)) })
	browsers := make([]plainBrowser, sockJSSessions)
	var failed atomic.Pointer[error]
	everyone := func(what string, f func(i int) error) {
		t.Helper()
		var wg sync.WaitGroup
		places := make(chan struct{}, 64)
		for i := range browsers {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			t.Fatalf("%s: %v", what, *err)
		}
	}
	t.Cleanup(func() {
		for _, b := range browsers {
			if b.Conn != nil {
				b.Close()
			}
		}
	})
	everyone("connecting", func(i int) (err error) {
		browsers[i], err = tryVisit(g.chat())
		return err
	})
	if n := g.metric(`gateway_sockjs_sessions{`); n != sockJSSessions {
		t.Errorf("%v sessions are counted, want %d", n, sockJSSessions)
	}
	for round := range sockJSMessages {
		everyone("echoing", func(i int) error {
			text := fmt.Sprintf("%d of %d", round, i)
			return browsers[i].ask(text, text)
		})
	}
	everyone("leaving", func(i int) error { return browsers[i].Close() })
	eventually(t, browserWait, "all have left", func() bool { return p.count("disconnect") == sockJSSessions })
	if n := p.count("connect"); n != sockJSSessions {
		t.Errorf("the program heard %d connects, want %d", n, sockJSSessions)
	}
}

func TestProgramsComeByCurveAlone(t *testing.T) {
	public, secret, err := zmq.NewCurveKeypair()
	must(t, err)
	known, knownSecret, err := zmq.NewCurveKeypair()
	must(t, err)
	stranger, strangerSecret, err := zmq.NewCurveKeypair()
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "gateway.secret"), []byte(secret), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "programs.keys"), []byte(known+"\n"), 0o600))
	g := startGateway(t, chatConfig(fmt.Sprintf("curve_secret_key = file(%q)\n  curve_clients = %q",
		filepath.Join(dir, "gateway.secret"), filepath.Join(dir, "programs.keys"))))
	open := g.runProgram(t, echoOrBye)
	wrong := g.runProgram(t, echoOrBye, func(s *zmq.Socket) {
		must(t, s.SetCurveServerkey(public), s.SetCurvePublickey(stranger), s.SetCurveSecretkey(strangerSecret))
	})
	b := visit(t, g.chat())
	must(t, b.WriteMessage(websocket.TextMessage, []byte("for the right one")))
	right := g.runProgram(t, echoOrBye, func(s *zmq.Socket) {
		must(t, s.SetCurveServerkey(public), s.SetCurvePublickey(known), s.SetCurveSecretkey(knownSecret))
	})
	must(t, b.hear("for the right one"))
	if right.count("connect") != 1 || open.count("connect")+wrong.count("connect") != 0 {
		t.Errorf("connects: %d with the right key, %d with another, %d without", right.count("connect"), wrong.count("connect"), open.count("connect"))
	}
}

func TestUserOfSockJSProxyChangesOnlyTheProgramsName(t *testing.T) {
	in, out, web := freeAddr(t), freeAddr(t), freeAddr(t)
	host := in[:strings.LastIndexByte(in, ':')]
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	log := &logBuffer{}
	cmd := exec.Command(binary, "sockjs", "--address", host, "--in-port", port(in), "--out-port", port(out),
		"--http-port", port(web), "--samples", "samples", "--verbose")
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || strings.Contains(log.String(), "DATA RACE") {
			t.Errorf("it ended with %v:\n%s", err, log)
		}
	})
	eventually(t, startWait, "it prints where the sample is", func() bool {
		return strings.HasSuffix(log.String(), "http://localhost:"+port(web)+"/samples/\n")
	})
	pull, push := zmqSocket(t, zmq.PULL), zmqSocket(t, zmq.PUSH)
	must(t, pull.Connect("tcp://"+in), push.Connect("tcp://"+out))
	b := visit(t, "http://"+web)
	connect := recv(t, pull)
	want(t, connect, "connect", connect[1], "")
	must(t, b.WriteMessage(websocket.TextMessage, []byte("what time is it?")))
	want(t, recv(t, pull), "message", connect[1], "what time is it?")
	send(t, push, "message", connect[1], "late")
	send(t, push, "disconnect", connect[1], "")
	must(t, b.hear("late"))
	if _, _, err := b.ReadMessage(); !websocket.IsCloseError(err, 3000) {
		t.Errorf("the browser was told: %v", err)
	}
	want(t, recv(t, pull), "disconnect", connect[1], "")
}

func TestGatewayConnectsToProgramsThatBind(t *testing.T) {
	pull, pullEnd := bound(t, zmq.PULL)
	push, pushEnd := bound(t, zmq.PUSH)
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
sockjs "/chat" {
  push           = %q
  pull           = %q
  connect        = true
  client_address = true
}
`, pullEnd, pushEnd))
	b := visit(t, g.chat())
	connect := recv(t, pull)
	if connect[0] != "connect" || connect[2] != fmt.Sprintf(`{"address":%q}`, b.LocalAddr()) {
		t.Errorf("the program heard %q", connect)
	}
	send(t, push, "broadcast", "", "hello, everybody")
	must(t, b.hear("hello, everybody"))
	send(t, push, "disconnect", connect[1], "")
	if m := recv(t, pull); m[0] != "disconnect" || m[1] != connect[1] {
		t.Errorf("the program heard %q", m)
	}
}

func TestSessionsSurviveAReloadThatDoesNotConcernThem(t *testing.T) {
	g := startGateway(t, chatConfig(""))
	p := g.runProgram(t, echoOrBye)
	b := visit(t, g.chat())
	must(t, b.ask("one", "one"))
	file := filepath.Join(g.dir, "gateway.hcl")
	must(t, os.WriteFile(file, []byte(chatConfig("")+"\nsockjs \"/other\" {\n  push = \"tcp://127.0.0.1:0\"\n  pull = \"tcp://127.0.0.1:0\"\n}\n"), 0o600))
	g.signal(syscall.SIGHUP)
	g.waitLog("msg=reloaded generation=2", startWait)
	must(t, b.ask("two", "two"))

	// Other settings of the same block: its sessions end, its programs stay.
	must(t, os.WriteFile(file, []byte(chatConfig(`heartbeat = "10s"`)), 0o600))
	g.signal(syscall.SIGHUP)
	g.waitLog("msg=reloaded generation=3", startWait)
	if _, _, err := b.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the old session: %v", err)
	}
	again := visit(t, g.chat())
	must(t, again.ask("three", "three"))
	eventually(t, browserWait, "the program heard all", func() bool { return p.count("connect") == 2 && p.count("disconnect") == 1 })
}

func TestStopTellsBrowsersAndPrograms(t *testing.T) {
	g := startGateway(t, chatConfig(""))
	p := g.runProgram(t, echoOrBye)
	b := visit(t, g.chat())
	must(t, b.ask("hello", "hello"))
	began := time.Now()
	g.signal(syscall.SIGTERM)
	if _, _, err := b.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the browser was told: %v", err)
	}
	g.waitExit(stopWait)
	if took := time.Since(began); took > stopWait/2 {
		t.Errorf("it took %v", took)
	}
	eventually(t, browserWait, "the program heard of it", func() bool { return p.count("disconnect") == 1 })
}
