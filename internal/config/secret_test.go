package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const secret = "swordfish"

func TestSecretsAreShownByNoPrinter(t *testing.T) {
	cfg := mustParse(t, served+fmt.Sprintf("admin {\n  token = %q\n}\n", secret))
	if string(cfg.Admin.Token) != secret {
		t.Fatalf("the token is %q", string(cfg.Admin.Token))
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&out, verb+"\n", *cfg.Admin)
		fmt.Fprintf(&out, verb+"\n", cfg.Admin.Token)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("admin", "token", cfg.Admin.Token, "admin", cfg.Admin)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("admin", "token", cfg.Admin.Token, "admin", cfg.Admin)
	if err := json.NewEncoder(&out).Encode(cfg.Admin); err != nil {
		t.Fatal(err)
	}
	for _, told := range []string{secret, fmt.Sprintf("%x", secret)} {
		if strings.Contains(out.String(), told) {
			t.Errorf("somebody tells the secret %q:\n%s", told, out.String())
		}
	}
}

// TestSecretsAreBlankedInQuotedLines puts a secret into every kind of broken line: the right word, misspelt, misplaced,
// unfinished, in pieces.
func TestSecretsAreBlankedInQuotedLines(t *testing.T) {
	for _, broken := range []string{
		"admin {\n  token = [\"swordfish\"]\n}",
		"admin {\n  token = \"swordfish\" + 1\n}",
		"admin {\n  token = \"swordfish\n}",
		"admin {\n  token = \"swordfish",
		"admin {\n  token : \"swordfish\"\n}",
		"admin {\n  tokne = \"swordfish\"\n}",
		"admin {\n  Token = \"swordfish\"\n}",
		"admin {\n  token = <<EOT\nswordfish\nEOT\n  listen = 5\n  listen = 6\n}",
		"admin {\n  token = <<EOT\nswordfish\n",
		"admin { token = \"swordfish\", listen = 5 }",
		"admin { token = \"\" \"swordfish\" }",
		"admin {\n  token = \"${env(\"GATEWAY_TEST_UNSET\")}swordfish\"\n}",
		"log { token = \"swordfish\" }",
		"token = \"swordfish\"",
	} {
		var out strings.Builder
		_, diags := Parse("gateway.hcl", []byte(served+broken+"\n"))
		if err := diags.Write(&out, 0, false); err != nil {
			t.Fatal(err)
		}
		if !diags.HasErrors() || strings.Contains(out.String(), secret) {
			t.Errorf("%s\nis answered with\n%s", broken, out.String())
		}
	}
}
