package peers

import (
	"bytes"
	"context"
	"flag"
	"strings"
	"testing"
)

func pushProgram() Program {
	return Program{
		Name: "zmq_push", About: "pushes", Hint: "Start something.",
		Setup: func(flags *flag.FlagSet) func(context.Context, Report) error {
			c := Client{Name: "push"}
			c.Flags(flags)
			return func(ctx context.Context, report Report) error { return Push(ctx, c, report) }
		},
	}
}

func TestProgramsExitCodesAndWords(t *testing.T) {
	taken, _ := serving(t, Pull, "127.0.0.1:0", "pull", newDiary().report)
	pull := Server{Name: "zmq_pull", About: "pulls", Listen: taken, As: "pull", Serve: Pull}.Program()
	for _, test := range []struct {
		why            string
		program        Program
		args           []string
		code           int
		stdout, stderr string // parts of them
	}{
		{"it sends", pushProgram(), []string{"-connect", taken, "-count", "2", "-every", "1ms", "-name", "p7"}, exitOK, "p7       sent      #2    Hello from p7\n", ""},
		{"nobody answers", pushProgram(), []string{"-connect", refusing(t), "-wait", "50ms"}, exitError, "", "connection refused\nStart something.\n"},
		{"the address makes no sense", pushProgram(), []string{"-connect", "inproc://x"}, exitError, "", `zmq_push: address "inproc://x": inproc:// is not known; want tcp://, ipc:// or unix://`},
		{"the pause is negative", pushProgram(), []string{"-every", "-1s"}, exitError, "", "none may be negative"},
		{"help", pushProgram(), []string{"-h"}, exitOK, "", "zmq_push: pushes\n"},
		{"an unknown flag", pushProgram(), []string{"-conect", "x"}, exitUsage, "", "-conect"},
		{"an argument", pushProgram(), []string{"127.0.0.1:5555"}, exitUsage, "", `"127.0.0.1:5555" is no flag`},
		{"the port is taken", pull, nil, exitError, "", "zmq_pull: another program listens on " + taken + " already"},
	} {
		var stdout, stderr bytes.Buffer
		code := test.program.run(t.Context(), test.args, &stdout, &stderr)
		if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
			t.Errorf("%s: exit code %d, want %d\nstdout: %s\nstderr: %s", test.why, code, test.code, &stdout, &stderr)
		}
	}
}

func TestStoppedServerExitsWithZero(t *testing.T) {
	for _, serve := range []Server{{Name: "zmq_pull", As: "pull", Serve: Pull}, {Name: "grpc_server", As: "greeter", Serve: Serve}} {
		serve.Listen = "127.0.0.1:0"
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stdout, stderr bytes.Buffer
		if code := serve.Program().run(ctx, nil, &stdout, &stderr); code != exitOK || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d: %s", serve.Name, code, &stderr)
		}
	}
}
