//go:build libzmq

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	zmq "github.com/pebbe/zmq4"
)

// secretsConfig takes a CURVE key, the file of users and the admin token.
const secretsConfig = `
listen "127.0.0.1:0" { name = "public" }
backend "greeter" { grpc = ["127.0.0.1:1"] }
zmq "curve" {
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  curve_secret_key = %q
  to "greeter" {}
}
zmq "plain" {
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  plain_users = %q
  to "greeter" {}
}
relay "vault" {
  workers {
    listen = "127.0.0.1:0"
    agents = true
    token = env("E2E_AGENT_TOKEN")
  }
}
admin {
  listen = "127.0.0.1:0"
  token = %q
}
log { level = "debug" }
`

// TestSecretsAreToldNobody gives a gateway one secret of each kind, and everybody a reason to talk of it: wrong tokens, wrong
// keys, wrong passwords, broken reloads. None of the secrets is in the log, the status, the metrics, or an answer.
func TestSecretsAreToldNobody(t *testing.T) {
	public, secret, err := zmq.NewCurveKeypair()
	must(t, err)
	secrets := map[string]string{
		"the admin token": "tell-nobody-admin", "the agents' token": "tell-nobody-agent", "a PLAIN password": "tell-nobody-plain", "a CURVE key": secret,
	}
	t.Setenv("E2E_AGENT_TOKEN", secrets["the agents' token"])
	users := filepath.Join(t.TempDir(), "users.txt")
	must(t, os.WriteFile(users, []byte("ada:"+secrets["a PLAIN password"]+"\n"), 0o600))
	config := fmt.Sprintf(secretsConfig, secret, users, secrets["the admin token"])
	g := startGateway(t, config)
	told := map[string]string{}

	ada := zmqSocket(t, zmq.REQ) // with a wrong password
	must(t, ada.SetPlainUsername("ada"), ada.SetPlainPassword("wrong"), ada.Connect("tcp://"+g.addr("public")))
	g.waitLog("handshake failed", patience)
	probe, _ := exec.Command(binary, "probe", "-server-key", public, g.addr("public")).CombinedOutput()
	told["gateway probe"] = string(probe)

	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte("wrong"), 0o600))
	agent := exec.Command(binary, "agent", "-gateway", g.addr("vault/workers"), "-worker", "tcp://"+echoServer(t), "-token-file", token, "-slots", "1", "-debug")
	agentLog := &logBuffer{}
	agent.Stdout, agent.Stderr = agentLog, agentLog
	must(t, agent.Start())
	t.Cleanup(func() { agent.Process.Kill(); agent.Wait() })

	brokenReloads(t, g, config, secrets["the admin token"], told)
	g.replace(config)
	g.signal(syscall.SIGHUP)
	g.waitLog("msg=reloaded generation=2", patience)
	for _, path := range []string{"/status", "/metrics"} {
		text := asked(t, g, http.MethodGet, path, "Bearer "+secrets["the admin token"])
		if !strings.Contains(text, "vault") {
			t.Errorf("GET %s tells nothing: %.200s", path, text)
		}
		told["GET "+path], told["GET "+path+" without"] = text, asked(t, g, http.MethodGet, path, "")
	}
	eventually(t, patience, "the agent is refused", func() bool { return strings.Contains(agentLog.String(), "does not keep a slot") })
	told["the agent's log"], told["the log"] = agentLog.String(), g.log.String()
	for where, text := range told {
		if text == "" {
			t.Errorf("%s says nothing", where)
		}
		for what, hidden := range secrets {
			if strings.Contains(text, hidden) {
				t.Errorf("%s tells %s:\n%s", where, what, text)
			}
		}
	}
}

// brokenReloads breaks the lines with secrets, each in another way, and puts what is answered into told.
func brokenReloads(t *testing.T, g *gatewayProcess, config, token string, told map[string]string) {
	t.Helper()
	for n, broken := range []string{
		strings.Replace(config, "token = \"", "tokne = \"", 1), strings.Replace(config, "curve_secret_key = ", "curve_secret_key = 1 + ", 1),
		strings.Replace(config, "log {", "log { token = \""+token+"\"\n", 1),
	} {
		g.replace(broken)
		for path, authorization := range map[string]string{"/reload": "Bearer " + token, "/upgrade": "Bearer wrong"} {
			told[fmt.Sprintf("POST %s, %d", path, n)] = asked(t, g, http.MethodPost, path, authorization)
		}
		check, _ := exec.Command(binary, "check", "-config", filepath.Join(g.dir, "gateway.hcl")).CombinedOutput()
		told[fmt.Sprintf("gateway check, %d", n)] = string(check)
	}
}

// asked is what the admin port answers, with its header.
func asked(t *testing.T, g *gatewayProcess, method, path, authorization string) string {
	t.Helper()
	request, err := http.NewRequest(method, "http://"+g.addr("admin")+path, nil)
	must(t, err)
	request.Header.Set("Authorization", authorization)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return fmt.Sprint(response.Status, response.Header, string(body))
}
