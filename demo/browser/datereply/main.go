// Datereply answers every message of a browser with the date, and then disconnects the browser, as the sample of
// SockJSProxy does. It is a ZeroMQ program like any other: it pulls from the gateway and pushes to it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"gateway/demo/browser"
)

func main() {
	r := browser.Replier{Heard: func(kind, session, data string) { fmt.Printf("%-10s %s %q\n", kind, session, data) }}
	flag.StringVar(&r.Pull, "pull", browser.DefaultPull, "the `endpoint` where the gateway pushes")
	flag.StringVar(&r.Push, "push", browser.DefaultPush, "the `endpoint` where the gateway pulls")
	flag.BoolVar(&r.Stay, "stay", false, "disconnect only browsers that say bye")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := browser.Reply(ctx, r); err != nil {
		fmt.Fprintln(os.Stderr, "datereply:", err)
		os.Exit(1)
	}
}
