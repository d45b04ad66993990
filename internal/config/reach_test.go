package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestSourceListsCoverEachOtherAsAddressesDo(t *testing.T) {
	for _, c := range []struct {
		inner string
		outer string
		want  bool
	}{
		{"10.0.0.0/8", "10.0.0.0/8", true},
		{"10.1.0.0/16", "10.0.0.0/8", true},
		{"10.0.0.0/8", "10.1.0.0/16", false},
		{"0.0.0.0/0", "0.0.0.0/1 128.0.0.0/1", true},
		{"0.0.0.0/0", "0.0.0.0/1 128.0.0.0/2 192.0.0.0/3", false},
		{"10.0.0.0/30", "10.0.0.0/32 10.0.0.1/32 10.0.0.2/32 10.0.0.3/32", true},
		{"10.0.0.0/30", "10.0.0.0/32 10.0.0.1/32 10.0.0.2/32", false},
		{"::/0", "0.0.0.0/0", false},
		{"::/0", "::/1 8000::/1", true},
		{"10.0.0.1/32", "10.0.0.0/32", false},
	} {
		var outer []netip.Prefix
		for _, text := range strings.Fields(c.outer) {
			outer = append(outer, netip.MustParsePrefix(text))
		}
		if got := within(netip.MustParsePrefix(c.inner), outer); got != c.want {
			t.Errorf("%s within %s: %v, want %v", c.inner, c.outer, got, c.want)
		}
	}
}

// TestRelaysThatShareAPortWithoutShadowAreAccepted lists what must not be mistaken for an unreachable block.
func TestRelaysThatShareAPortWithoutShadowAreAccepted(t *testing.T) {
	for name, c := range map[string]struct{ first, second string }{
		"another protocol":          {`protocol = "ssh"`, ``},
		"any comes last":            {`protocol = "ssh"`, `protocol = "any"`},
		"the narrower source first": {`source = ["10.0.0.0/8"]`, ``},
		"sources side by side":      {`source = ["10.0.0.0/8"]`, `source = ["11.0.0.0/8"]`},
		"only IPv4 is taken":        {`source = ["0.0.0.0/0"]`, ``},
		"another listener":          {`listen = ["one"]`, `listen = ["two"]`},
		"one listener, then all":    {`listen = ["one"]`, ``},
		"percent first":             {`percent = 10`, ``},
		"a larger percent later":    {`percent = 10`, `percent = 50`},
		"switched off":              {``, `percent = 0`},
		"first switched off":        {`percent = 0`, `percent = 0`},
	} {
		t.Run(name, func(t *testing.T) {
			mustParse(t, fmt.Sprintf(`
listen "127.0.0.1:1001" { name = "one" }
listen "127.0.0.1:1002" { name = "two" }
relay "first" {
  match {
    %s
  }
  dial = ["tcp://127.0.0.1:5560"]
}
relay "second" {
  match {
    %s
  }
  dial = ["tcp://127.0.0.1:5561"]
}`, c.first, c.second))
		})
	}
}

func TestHTTP2MayBeRelayedOnAListenerOfItsOwn(t *testing.T) {
	mustParse(t, `
listen "127.0.0.1:1001" { name = "one" }
listen "127.0.0.1:1002" { name = "two" }
relay "h2" {
  match {
    protocol = "http2"
    listen   = ["two"]
  }
  dial = ["tcp://127.0.0.1:8080"]
}
backend "greeter" { grpc = ["127.0.0.1:50051"] }
grpc "*" {
  to "greeter" {}
}`)
}

func TestAddressesThatCannotBothBeListenedOn(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "127.0.0.1:2", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"0.0.0.0:1", "127.0.0.1:1", true},
		{":1", "127.0.0.1:1", true},
		{":1", "[::1]:1", true},
		{"[::]:1", "0.0.0.0:1", true},
		{"0.0.0.0:1", "[::1]:1", false},
		{"localhost:1", "127.0.0.1:1", true},
		{"localhost:1", "LOCALHOST:1", true},
		{"name:1", "NAME:1", true},
		{"name:1", "other:1", false},
		{"name:1", ":1", true},
		{"[::ffff:127.0.0.1]:1", "127.0.0.1:1", true},
		{"127.0.0.1:01", "127.0.0.1:1", true},
		{"127.0.0.1:0", "127.0.0.1:0", false},
	} {
		if got, back := overlap(c.a, c.b), overlap(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("overlap(%s, %s) = %v, other way round %v, want %v", c.a, c.b, got, back, c.want)
		}
	}
}

func TestAdminIsOpenToOthersOnlyWithAToken(t *testing.T) {
	for addr, private := range map[string]bool{
		"127.0.0.1:9901": true, "127.9.9.9:9901": true, "[::1]:9901": true, "localhost:9901": true, "unix:///run/g.sock": true,
		"0.0.0.0:9901": false, ":9901": false, "[::]:9901": false, "192.168.1.1:9901": false, "name:9901": false,
	} {
		_, diags := Parse("gateway.hcl", []byte(served+fmt.Sprintf("admin {\n  listen = %q\n}\n", addr)))
		if diags.HasErrors() == private {
			t.Errorf("without a token %s gives %v", addr, diags)
		}
		mustParse(t, served+fmt.Sprintf("admin {\n  listen = %q\n  token = \"swordfish\"\n}\n", addr))
	}
}
