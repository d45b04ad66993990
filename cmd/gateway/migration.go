package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// migration is `gateway migration`: it says who still speaks ZeroMQ, and where messages go.
func migration(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("migration", flag.ContinueOnError)
	path := flags.String("config", configDefault, "the configuration `file` that names the admin port, and its token")
	addr := flags.String("admin", "", "the admin `address` instead: host:port or unix:///path")
	tokenFile := flags.String("token-file", "", "a `file` with the admin token")
	silent := flags.Duration("silent", 0, "exit with 1 unless nobody has spoken ZeroMQ for this `duration`, such as 168h")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	from, err := adminOf(*path, *addr, *tokenFile)
	if err != nil {
		fmt.Fprintf(stderr, "gateway migration: %v\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	text, err := from.status(ctx)
	var s struct{ Migration migrationStatus }
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	if err != nil {
		fmt.Fprintf(stderr, "gateway migration: %v\n", err)
		return exitError
	}
	speakers := s.Migration.speakers()
	s.Migration.show(stdout, speakers)
	if *silent > 0 && quietFor(speakers) < *silent {
		return exitError
	}
	return exitOK
}

// speaker is who spoke what to which service.
type speaker struct {
	service, protocol, address string
	live                       int
	connections, messages      int64
	ago                        time.Duration
}

// speakers are all that were seen, those of ZeroMQ first, the latest of them first.
func (s *migrationStatus) speakers() (all []speaker) {
	for _, service := range s.Services {
		for _, from := range service.Sources {
			p := speaker{service.Service, from.Protocol, from.Address, from.Live, from.Connections, from.Messages, 0}
			if from.Live == 0 || from.Messages > 0 {
				p.ago = time.Duration(from.Ago * float64(time.Second)).Round(time.Second)
			}
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b speaker) int {
		return cmp.Or(-strings.Compare(a.protocol, b.protocol), cmp.Compare(a.ago, b.ago), strings.Compare(a.service+a.address, b.service+b.address))
	})
	return all
}

// quietFor is how long nobody has spoken ZeroMQ: 0 while somebody could.
func quietFor(all []speaker) time.Duration {
	quiet := time.Duration(1<<63 - 1)
	for _, p := range all {
		if p.protocol == "zmq" {
			quiet = min(quiet, p.ago)
			if p.live > 0 {
				return 0
			}
		}
	}
	return quiet
}

func (s *migrationStatus) show(w io.Writer, all []speaker) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVICE\tSPEAKS\tCLIENT\tCONNECTED\tCONNECTIONS\tMESSAGES\tLAST SPOKE")
	for _, p := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%v ago\n", p.service, p.protocol, p.address, p.live, p.connections, p.messages, p.ago)
	}
	if len(s.Ways) > 0 {
		fmt.Fprintln(table, "\nZMQ BLOCK\tMETHOD\tGOES TO\tASKED\tMEASURED\tSENT")
	}
	for _, way := range s.Ways {
		fmt.Fprintf(table, "%s\t%s\t%s\t%.4g%%\t%.4g%%\t%d\n", way.Block, cmp.Or(way.Method, "(as it is)"), way.Backend, way.Asked, way.Measured, way.Sent)
	}
	if len(s.Mirrors) > 0 {
		fmt.Fprintln(table, "\nZMQ BLOCK\tMIRROR\tSAME REPLY\tMATCHES\tMISMATCHES\tNOT COMPARED\tFAILED\tDROPPED")
	}
	for _, m := range s.Mirrors {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", m.Route, m.Backend, rate(m.Matches, m.Mismatches), m.Matches, m.Mismatches, m.Uncompared, m.Failed, m.Dropped)
	}
	showCalls(table, s)
	table.Flush() // whom nobody reads nobody misses
	fmt.Fprintf(w, "\n%s\n", verdict(all))
}

// showCalls shows how calls that messages became have ended.
func showCalls(w io.Writer, s *migrationStatus) {
	titled := false
	for _, service := range s.Services {
		codes := make([]string, 0, len(service.Calls))
		for code, n := range service.Calls {
			codes = append(codes, fmt.Sprintf("%s %d", code, n))
		}
		if len(codes) == 0 {
			continue
		}
		if !titled {
			fmt.Fprintln(w, "\nZMQ BLOCK\tCALLS BY STATUS")
			titled = true
		}
		slices.Sort(codes)
		fmt.Fprintf(w, "%s\t%s\n", service.Service, strings.Join(codes, ", "))
	}
}

// rate is the share of replies that matched.
func rate(matches, mismatches int64) string {
	if matches+mismatches == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4g%%", 100*float64(matches)/float64(matches+mismatches))
}

// verdict answers the question in a sentence.
func verdict(all []speaker) string {
	var live []string
	seen := 0
	for _, p := range all {
		if p.protocol != "zmq" {
			continue
		}
		seen++
		if p.live > 0 {
			live = append(live, fmt.Sprintf("%s (%s)", p.address, p.service))
		}
	}
	switch {
	case seen == 0:
		return "Nobody was seen speaking ZeroMQ."
	case len(live) == 0:
		return fmt.Sprintf("Nobody speaks ZeroMQ now; the last of %d who did was there %v ago.", seen, quietFor(all))
	case len(live) > verdictNamesMax:
		return fmt.Sprintf("%d clients still speak ZeroMQ: %s and others.", len(live), strings.Join(live[:verdictNamesMax], ", "))
	}
	return fmt.Sprintf("%d still speak ZeroMQ: %s.", len(live), strings.Join(live, ", "))
}

// verdictNamesMax is how many names a sentence bears.
const verdictNamesMax = 5
