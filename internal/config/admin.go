package config

import "strings"

// admin reads the admin block; without one there is no admin port.
func (r *reader) admin(b *adminSchema) *Admin {
	if b == nil {
		return nil
	}
	a := &Admin{Network: "tcp", Addr: adminAddrDefault, Pprof: r.flag(b.Pprof), Range: b.DefRange}
	if addr, ok := r.text(b.Listen); ok {
		a.Addr, a.Range = addr, b.Listen.Expr.Range()
	}
	problem := ""
	if path, isSocket := strings.CutPrefix(a.Addr, "unix://"); isSocket {
		a.Network, a.Addr = "unix", path
		problem = socketProblem("unix://", path)
	} else {
		problem = listenRule.problem(a.Addr)
	}
	if problem != "" {
		r.errorAt(a.Range, "Bad admin address", "%s", problem)
	}
	token, given := r.text(b.Token)
	a.Token = Secret(token)
	switch {
	case given && token == "":
		r.errorAt(b.Token.NameRange, "The token is empty", "An empty token protects nothing. Give it a text, or remove the line.")
	case b.Token == nil && problem == "" && a.Network == "tcp" && !loopback(a.Addr):
		r.errorAt(a.Range, "The admin port is open to others", "%s can be reached from other machines. Listen on \"127.0.0.1:9901\" or a unix socket, or ask for a token: token = env(\"ADMIN_TOKEN\").", quoted(a.Addr))
	}
	return a
}
