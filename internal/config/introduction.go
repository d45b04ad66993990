package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Introduction is what a ZMTP client must show of itself. All of its conditions must hold; the zero value asks nothing.
type Introduction struct {
	Mechanism  []string // names of security mechanisms, such as CURVE; empty: any, ZMTP 2 clients too, which have none
	SocketType []string // socket types, such as PUSH; empty: any. NULL clients alone show it
	Identity   string   // how the routing id begins; empty: any. NULL clients alone show it
}

const (
	mechanismBytesMax = 20  // RFC 37, greeting
	identityBytesMax  = 255 // RFC 37, Identity
	nullMechanism     = "NULL"
)

var (
	mechanisms  = []string{nullMechanism, "PLAIN", "CURVE"}
	socketTypes = []string{"REQ", "REP", "DEALER", "ROUTER", "PUB", "SUB", "XPUB", "XSUB", "PUSH", "PULL", "PAIR",
		"CLIENT", "SERVER", "RADIO", "DISH", "SCATTER", "GATHER", "PEER", "CHANNEL"}
)

// introduction reads what a match asks of ZMTP clients.
func (r *reader) introduction(b *matchSchema, protocol Protocol) Introduction {
	in := Introduction{Mechanism: r.mechanisms(b.Mechanism), SocketType: r.socketTypes(b.SocketType), Identity: r.identity(b.Identity)}
	for _, a := range []*hcl.Attribute{b.Mechanism, b.SocketType, b.Identity} {
		if a != nil && protocol != ZMTP {
			r.errorAt(a.NameRange, "What can never be seen", "%s is shown by ZMTP clients alone, and this block takes protocol = %q. Remove one of the two lines.", a.Name, protocol)
		}
	}
	for _, a := range []*hcl.Attribute{b.SocketType, b.Identity} {
		if a != nil && slices.ContainsFunc(in.Mechanism, func(m string) bool { return m != nullMechanism }) {
			r.errorAt(a.NameRange, "What can never be seen", "%s is visible under NULL alone: %s hides it from everybody in between. Write mechanism = [\"NULL\"], or remove this line.", a.Name, listed(without(in.Mechanism, nullMechanism)))
		}
	}
	return in
}

// mechanisms reads names of mechanisms. One that nobody knows is accepted, unless it looks like a slip of the finger.
func (r *reader) mechanisms(a *hcl.Attribute) []string {
	items, _ := r.list(a, "CURVE")
	names := make([]string, 0, len(items))
	for _, it := range items {
		if !slices.Contains(mechanisms, it.text) {
			meant := suggest(it.text, mechanisms)
			switch {
			case meant != "":
				r.errorAt(it.at, "Unknown mechanism", "There is no mechanism %s. Did you mean %q?", quoted(it.text), meant)
			case it.text == "" || len(it.text) > mechanismBytesMax || strings.ToUpper(it.text) != it.text:
				r.errorAt(it.at, "Unknown mechanism", "A mechanism's name has 1 to %d capital letters, as %s have.", mechanismBytesMax, listed(mechanisms))
			}
		}
		names = append(names, it.text)
	}
	return names
}

func (r *reader) socketTypes(a *hcl.Attribute) []string {
	items, _ := r.list(a, "PUSH")
	names := make([]string, 0, len(items))
	for _, it := range items {
		if !slices.Contains(socketTypes, it.text) {
			r.errorAt(it.at, "Unknown socket type", "There is no socket type %s. %s", quoted(it.text), choose(it.text, socketTypes))
		}
		names = append(names, it.text)
	}
	return names
}

func (r *reader) identity(a *hcl.Attribute) string {
	text, ok := r.text(a)
	if ok && (text == "" || len(text) > identityBytesMax) {
		r.errorAt(a.Expr.Range(), "Bad identity", "identity is how the routing id begins: 1 to %d bytes, as in identity = \"legacy-\". To take every client, remove the line.", identityBytesMax)
	}
	return text
}

// covers reports whether in takes every ZMTP client that later takes.
func (in Introduction) covers(later Introduction) bool {
	mechanisms := later.Mechanism
	if len(later.SocketType) > 0 || later.Identity != "" {
		mechanisms = []string{nullMechanism}
	}
	return contains(in.Mechanism, mechanisms) && contains(in.SocketType, later.SocketType) && strings.HasPrefix(later.Identity, in.Identity)
}

// contains reports whether a list, where empty means everything, contains another.
func contains(all, some []string) bool {
	if len(all) == 0 {
		return true
	}
	return len(some) > 0 && len(without(some, all...)) == 0
}

// without is list less some of its words.
func without(list []string, some ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(word string) bool { return slices.Contains(some, word) })
}
