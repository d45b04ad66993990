package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/internal/config"
)

func TestSockJSTakesTheCommandLineOfSockJSProxy(t *testing.T) {
	defaults := sockJSFlags{address: "*", inPort: 9241, outPort: 9242, httpPort: 8080, staticURL: "/"}
	changed := func(change func(*sockJSFlags)) sockJSFlags {
		f := defaults
		change(&f)
		return f
	}
	for line, want := range map[string]sockJSFlags{
		"":                                     defaults,
		"--samples samples --verbose":          changed(func(f *sockJSFlags) { f.samples, f.verbose = "samples", true }),
		"--sam samples --verb":                 changed(func(f *sockJSFlags) { f.samples, f.verbose = "samples", true }),
		"-v -a 127.0.0.1 -i 1 -o 2 -p 3":       changed(func(f *sockJSFlags) { *f = sockJSFlags{"127.0.0.1", 1, 2, 3, "", "/", "", true, false} }),
		"-p3 -i1 --out-port=2":                 changed(func(f *sockJSFlags) { f.httpPort, f.inPort, f.outPort = 3, 1, 2 }),
		"--http 81 --in 1 --address ::1":       changed(func(f *sockJSFlags) { f.httpPort, f.inPort, f.address = 81, 1, "::1" }),
		"-s www -u /static/":                   changed(func(f *sockJSFlags) { f.staticPath, f.staticURL = "www", "/static" }),
		"--static-path=www --static-url files": changed(func(f *sockJSFlags) { f.staticPath, f.staticURL = "www", "/files" }),
		"--version":                            changed(func(f *sockJSFlags) { f.version = true }),
	} {
		f, err := parseSockJSFlags(strings.Fields(line))
		if err != nil || *f != want {
			t.Errorf("%q is %+v (%v), want %+v", line, f, err, want)
			continue
		}
		if _, diags := config.Parse("command line", f.config()); diags.HasErrors() {
			t.Errorf("%q makes a configuration that is refused: %v", line, diags.Diagnostics)
		}
	}
}

func TestSockJSRefusesWhatMakesNoSense(t *testing.T) {
	for _, line := range []string{"now", "--what", "-p none", "--http-port 70000", "--address host:1", "--static-path www", "--static 1"} {
		var stdout, stderr bytes.Buffer
		if code := sockJS(strings.Fields(line), &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), "--help") {
			t.Errorf("%s: exit code %d: %s", line, code, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := sockJS([]string{"-h"}, &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), "--in-port") {
		t.Errorf("-h: exit code %d: %s", code, &stdout)
	}
	if code := sockJS([]string{"-s", "/no/such/folder", "-u", "x"}, &stdout, &stderr); code != exitError {
		t.Errorf("a missing folder: exit code %d", code)
	}
}

func TestSockJSServesTheSampleAndFiles(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.txt"), []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, ended := newWatched(), make(chan int, 1)
	go func() {
		ended <- sockJS([]string{"-a", "127.0.0.1", "-i", "0", "-o", "0", "-p", "0", "--samples", "samples", "-s", folder, "-u", "/static"}, stdout, io.Discard)
	}()
	stdout.await(t, "/samples/\n")
	base := regexp.MustCompile(`http://localhost:\d+`).FindString(stdout.String())
	for path, want := range map[string]string{
		"/samples/": "<h1>", "/samples/page.js": "SockJS", "/sockjs.min.js": "sockjs-client v1.6.1", "/info": "entropy", "/": "Welcome to SockJS!",
		"/static/a.txt": "a file",
	} {
		r, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %v: %.80s", path, r.Status, err, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it did not end")
	}
}
