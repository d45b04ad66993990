package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const statusSample = `{
  "version": "v1", "draining": false,
  "listeners": [{"name": "public", "addr": "127.0.0.1:5555"}, {"name": "vault/workers", "addr": "127.0.0.1:5556"}],
  "relays": [
    {"name": "vault", "pairing": {"parked": 1, "waiting": 0, "workers": [{"address": "127.0.0.1:7", "name": "w\u001b[31m", "agent": true, "age_seconds": 3.25}],
      "pairs": [{"client": "10.0.0.1:9", "worker": "127.0.0.1:8", "since_seconds": 75.4, "in_bytes": 12, "handshake": "done"}]}},
    {"name": "empty", "targets": []}
  ],
  "tomorrow": ["a", "b"]
}`

const statusTables = `version v1   draining false

listeners
name           addr
public         127.0.0.1:5555
vault/workers  127.0.0.1:5556

relays vault
name vault

relays vault pairing
parked 1   waiting 0

relays vault pairing workers
address      name       agent  age
127.0.0.1:7  w\x1b[31m  true   3.3s

relays vault pairing pairs
client      worker       since  in  handshake
10.0.0.1:9  127.0.0.1:8  1m15s  12  done

relays empty
name empty
tomorrow: a, b
`

func TestStatusIsTablesForPeople(t *testing.T) {
	got, err := tables(statusSample)
	if err != nil || got != statusTables {
		t.Errorf("error %v, got:\n%s\nwant:\n%s", err, got, statusTables)
	}
}

func TestStatusAsksWithTheTokenAndSaysWhatIsWrong(t *testing.T) {
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer swordfish" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, statusSample)
	}))
	defer admin.Close()
	addr := admin.Listener.Addr().String()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"-admin", addr, "-token-file", token}, exitOK, statusTables, ""},
		{[]string{"-admin", addr, "-token-file", token, "-json"}, exitOK, statusSample, ""},
		{[]string{"-admin", addr}, exitError, "", "asks for its token"},
		{[]string{"-admin", "127.0.0.1:1"}, exitError, "", "no gateway answers at the admin port 127.0.0.1:1"},
		{[]string{"-admin", "unix:///nowhere"}, exitError, "", "no gateway answers"},
		{[]string{"-config", "nowhere.hcl"}, exitUsage, "", "nowhere.hcl does not load"},
	} {
		var stdout, stderr strings.Builder
		code := showStatus(c.args, &stdout, &stderr)
		if code != c.code || stdout.String() != c.stdout || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", c.args, code, stdout.String(), stderr.String())
		}
	}
}
