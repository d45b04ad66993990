package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

const (
	messageBytesMax = 2047 << 20 // gRPC implementations count a message's bytes in 31 bits
	weightMax       = 1_000_000
)

// Patterns of grpc blocks, and what people write instead. A service's name may have any number of packages in front.
var (
	methodPattern  = regexp.MustCompile(`^/[A-Za-z_][A-Za-z0-9_.]*/([A-Za-z_][A-Za-z0-9_]*|\*)$`)
	serviceMeant   = regexp.MustCompile(`^/?([A-Za-z_][A-Za-z0-9_.]*)/?$`)
	methodMeant    = regexp.MustCompile(`^/?([A-Za-z_][A-Za-z0-9_.]*)/([A-Za-z_][A-Za-z0-9_]*|\*)$`)
	anythingMeant  = regexp.MustCompile(`^[/*]*$`)
	patternForHelp = "A pattern is \"/package.Service/Method\", \"/package.Service/*\" or \"*\"."
)

// routes reads the grpc blocks; their destinations must be among the backends.
func (r *reader) routes(blocks []grpcSchema, backends []backendSchema) []Route {
	known := make([]string, len(backends))
	for i, b := range backends {
		known[i] = b.Name
	}
	routes := make([]Route, 0, len(blocks))
	for i, b := range blocks {
		for _, earlier := range blocks[:i] {
			if earlier.Pattern == b.Pattern && sameMatch(earlier.Match, b.Match) {
				r.errorAt(b.PatternRange, "Two grpc blocks for the same calls", "%s stands at %s too. Put both into one block, with a weight for each \"to\".", quoted(b.Pattern), Place(earlier.PatternRange))
				break
			}
		}
		routes = append(routes, r.route(b, known))
	}
	return routes
}

func (r *reader) route(b grpcSchema, known []string) Route {
	if problem := patternProblem(b.Pattern); problem != "" {
		r.errorAt(b.PatternRange, "Bad pattern", "%s: %s", quoted(b.Pattern), problem)
	}
	return Route{
		Pattern:    b.Pattern,
		Timeout:    r.duration(b.Timeout, 0),
		MaxMessage: r.size(b.MaxMessage, messageBytesMax),
		To:         r.destinations(destinations{b.To, b.DefRange, b.PatternRange, b.Pattern, "Calls"}, known),
		Range:      b.PatternRange,
		CallRules:  r.callRules(b, known),
	}
}

// patternProblem tells what is wrong with a pattern, or returns "".
func patternProblem(pattern string) string {
	if pattern == "*" || methodPattern.MatchString(pattern) {
		return ""
	}
	var meant string
	if anythingMeant.MatchString(pattern) && pattern != "" {
		meant = "*"
	} else if parts := methodMeant.FindStringSubmatch(pattern); parts != nil {
		meant = "/" + parts[1] + "/" + parts[2]
	} else if parts := serviceMeant.FindStringSubmatch(pattern); parts != nil {
		meant = "/" + parts[1] + "/*"
	}
	if meant == "" || patternProblem(meant) != "" {
		return patternForHelp
	}
	return fmt.Sprintf("%s Did you mean %q?", patternForHelp, meant)
}

// destinations are the to blocks of a block, with what messages need.
type destinations struct {
	to         []toSchema
	def, label hcl.Range
	name       string
	what       string // goes there
}

// destinations reads the to blocks of a block.
func (r *reader) destinations(b destinations, known []string) []To {
	if len(b.to) == 0 {
		r.errorAt(b.def, b.what+" that go nowhere", "Say which backend answers: to %q {}", nameOr(known, "name"))
		return nil
	}
	seen := map[string]hcl.Range{}
	for _, to := range b.to {
		if earlier, twice := seen[to.Backend]; twice {
			r.errorAt(to.BackendRange, "Duplicate destination", "%s is a destination at %s already. One \"to\" with the sum of the weights does the same.", quoted(to.Backend), Place(earlier))
		}
		seen[to.Backend] = to.BackendRange
		if !slices.Contains(known, to.Backend) && !r.incomplete {
			r.unknownBackend(to.BackendRange, to.Backend, known)
		}
	}
	return r.weighted(b)
}

// weighted reads the weights: all of a block's destinations have one, or none has.
func (r *reader) weighted(b destinations) []To {
	all := make([]To, 0, len(b.to))
	sum, with := 0, 0
	for _, to := range b.to {
		weight := 1
		if to.Weight != nil {
			with++
			if n, ok := r.count(to.Weight, 0, weightMax); ok {
				weight = n
			}
		}
		sum += weight
		all = append(all, To{Backend: to.Backend, Weight: weight, Range: to.BackendRange})
	}
	switch first := b.to[0]; {
	case with > 0 && with < len(b.to):
		r.errorAt(b.label, "Some weights are missing", "Give every \"to\" of %s a weight, or none: then they share equally.", quoted(b.name))
	case sum == 0:
		r.errorAt(b.label, "All weights are zero", "No %s of %s could go anywhere. Give one \"to\" a weight above 0.", strings.TrimSuffix(strings.ToLower(b.what), "s"), quoted(b.name))
	case with == 1 && len(b.to) == 1:
		r.warnAt(first.Weight.NameRange, "A weight without a choice", "%s is the only destination and gets every %s. Remove the weight, or add another \"to\".", quoted(first.Backend), strings.TrimSuffix(strings.ToLower(b.what), "s"))
	}
	return all
}

// nameOr returns a name for an example: one that exists, if any does.
func nameOr(known []string, otherwise string) string {
	if len(known) > 0 {
		return known[0]
	}
	return otherwise
}
