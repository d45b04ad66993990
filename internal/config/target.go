package config

import (
	"fmt"
	"strings"
)

var (
	dialSchemes = []string{"tcp://", "unix://", "ipc://"}
	grpcSchemes = []string{"dns:///", "srv:///", "unix:///"}
)

// dialTarget reads a target of relay { dial }; problem is empty if it is right.
func dialTarget(it item) (t Target, problem string) {
	t = Target{Text: it.text, Range: it.at}
	scheme, rest, found := strings.Cut(it.text, "://")
	scheme += "://"
	switch {
	case !found && (addressRule{}).problem(it.text) == "":
		return t, fmt.Sprintf("The scheme is missing. Did you mean %q?", "tcp://"+it.text)
	case !found:
		return t, fmt.Sprintf("A target is a scheme and an address, as in \"tcp://127.0.0.1:5560\". The schemes are %s.", listed(dialSchemes))
	case scheme == "tcp://":
		t.Network, t.Address = "tcp", rest
		return t, addressRule{scheme: scheme}.problem(rest)
	case scheme == "unix://" || scheme == "ipc://":
		t.Network, t.Address = "unix", rest
		return t, socketProblem(scheme, rest)
	}
	return t, fmt.Sprintf("There is no scheme %s. %s", quoted(scheme), choose(scheme, dialSchemes))
}

// grpcTarget reads a target of backend { grpc }, in the words of gRPC's naming; problem is empty if it is right.
func grpcTarget(it item) (t Target, problem string) {
	t = Target{Text: it.text, Range: it.at, Network: "tcp"}
	scheme, rest, found := strings.Cut(it.text, "://")
	scheme += ":///"
	switch {
	case strings.HasPrefix(it.text, "unix:") && !found:
		return t, fmt.Sprintf("Did you mean %q?", "unix:///"+strings.TrimLeft(it.text[len("unix:"):], "/"))
	case !found:
		t.Address = it.text
		return t, addressRule{}.problem(it.text)
	case scheme == "unix:///":
		t.Network, t.Address = "unix", rest
		return t, socketProblem("unix://", rest)
	case scheme == "dns:///" && strings.HasPrefix(rest, "/"):
		t.Address = rest[1:]
		return t, addressRule{scheme: scheme}.problem(t.Address)
	case scheme == "srv:///" && strings.HasPrefix(rest, "/"):
		t.Address = rest[1:]
		if t.Address == "" || strings.ContainsAny(t.Address, ":/ ") {
			return t, "A service record has a name and no port, as in \"srv:///greeter.internal\"."
		}
		return t, ""
	case scheme == "dns:///" || scheme == "srv:///":
		return t, fmt.Sprintf("Did you mean %q, with three slashes?", scheme+rest)
	case (addressRule{}).problem(rest) == "":
		return t, fmt.Sprintf("A gRPC target has no %s:// in front. Did you mean %q?", strings.TrimSuffix(scheme, ":///"), rest)
	}
	return t, fmt.Sprintf("There is no scheme %s. %s", quoted(scheme), choose(scheme, grpcSchemes))
}

// targets reads a list of targets, each by the rule of its block, none twice.
func (r *reader) targets(items []item, read func(item) (Target, string)) []Target {
	targets := make([]Target, 0, len(items))
	for _, it := range items {
		t, problem := read(it)
		if problem != "" {
			r.errorAt(it.at, "Bad target", "%s: %s", quoted(it.text), problem)
		}
		for _, earlier := range targets {
			if earlier.Text == t.Text {
				r.errorAt(it.at, "Duplicate target", "%s is in the list already. Twice does not make its share larger.", quoted(it.text))
			}
		}
		targets = append(targets, t)
	}
	return targets
}
