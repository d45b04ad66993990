package config

import (
	"fmt"
	"regexp"
	"slices"

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
			if earlier.Pattern == b.Pattern {
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
		To:         r.destinations(b, known),
		Range:      b.PatternRange,
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

// destinations reads the to blocks of a route.
func (r *reader) destinations(b grpcSchema, known []string) []To {
	if len(b.To) == 0 {
		r.errorAt(b.DefRange, "Calls that go nowhere", "Say which backend answers: to %q {}", nameOr(known, "name"))
		return nil
	}
	seen := map[string]hcl.Range{}
	for _, to := range b.To {
		if earlier, twice := seen[to.Backend]; twice {
			r.errorAt(to.BackendRange, "Duplicate destination", "%s is a destination at %s already. One \"to\" with the sum of the weights does the same.", quoted(to.Backend), Place(earlier))
		}
		seen[to.Backend] = to.BackendRange
		if !slices.Contains(known, to.Backend) && !r.incomplete {
			r.errorAt(to.BackendRange, "Unknown backend", "No backend block has the name %s. %s", quoted(to.Backend), choose(to.Backend, known))
		}
	}
	return r.weighted(b)
}

// weighted reads the weights: all of a route's destinations have one, or none has.
func (r *reader) weighted(b grpcSchema) []To {
	destinations := make([]To, 0, len(b.To))
	sum, with := 0, 0
	for _, to := range b.To {
		weight := 1
		if to.Weight != nil {
			with++
			if n, ok := r.count(to.Weight, 0, weightMax); ok {
				weight = n
			}
		}
		sum += weight
		destinations = append(destinations, To{Backend: to.Backend, Weight: weight, Range: to.BackendRange})
	}
	switch first := b.To[0]; {
	case with > 0 && with < len(b.To):
		r.errorAt(b.PatternRange, "Some weights are missing", "Give every \"to\" of %s a weight, or none: then they share equally.", quoted(b.Pattern))
	case sum == 0:
		r.errorAt(b.PatternRange, "All weights are zero", "No call of %s could go anywhere. Give one \"to\" a weight above 0.", quoted(b.Pattern))
	case with == 1 && len(b.To) == 1:
		r.warnAt(first.Weight.NameRange, "A weight without a choice", "%s is the only destination and gets every call. Remove the weight, or add another \"to\".", quoted(first.Backend))
	}
	return destinations
}

// nameOr returns a name for an example: one that exists, if any does.
func nameOr(known []string, otherwise string) string {
	if len(known) > 0 {
		return known[0]
	}
	return otherwise
}
