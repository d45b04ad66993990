package grpcproxy

import (
	"net"
	"strings"
)

// Ledger keeps account of who calls which service.
type Ledger interface {
	// Come opens the account of a client's connection with a service that it calls for the first time: "package.Service", by
	// the pattern of the route, or "" where that is "*".
	Come(service string, client net.Addr) Account
}

// Account is a client's connection and a service. Left is called last, once.
type Account interface {
	Spoke() // at each call
	Left()
}

// accountsMax bounds the accounts of one connection; it counts while routes change under it.
const accountsMax = 64

// accounts are those of a caller's connection. They are the reader's.
type accounts struct {
	ledger Ledger // nil: none are kept
	client net.Addr
	open   []openAccount
}

type openAccount struct {
	service string
	account Account
}

// called notes a call. Most connections call one service: the first that is looked at. Calls of what the gateway answers itself
// are nobody's.
func (a *accounts) called(r *route) {
	if a.ledger == nil || r.Pattern == "" {
		return
	}
	for _, have := range a.open {
		if have.service == r.service {
			have.account.Spoke()
			return
		}
	}
	if len(a.open) < accountsMax {
		account := a.ledger.Come(r.service, a.client)
		account.Spoke()
		a.open = append(a.open, openAccount{r.service, account})
	}
}

// left closes them.
func (a *accounts) left() {
	for _, have := range a.open {
		have.account.Left()
	}
	a.open = nil
}

// serviceOf is the service that a route's pattern names; "" for "*".
func serviceOf(pattern string) string {
	name := strings.TrimPrefix(pattern, "/")
	if slash := strings.IndexByte(name, '/'); slash >= 0 {
		return name[:slash]
	}
	return ""
}
