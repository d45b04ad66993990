package zmtp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The pairs that zmq_curve(7) publishes for tests.
const (
	manClientPublic = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
	manClientSecret = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
	manServerPublic = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
	manServerSecret = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
)

// manKeys are the securities of the published keys, so that a captured HELLO can be opened.
func manKeys(t testing.TB) (client, server Security) {
	t.Helper()
	serverSecret, err1 := ParseSecretKey(manServerSecret)
	clientSecret, err2 := ParseSecretKey(manClientSecret)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return CurveClient{Server: serverSecret.Public(), Pair: KeyPair{Public: clientSecret.Public(), Secret: clientSecret}},
		CurveServer{Secret: serverSecret}
}

func TestZ85SaysHelloWorldAsTheRFCDoes(t *testing.T) {
	b := []byte{0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B}
	if text, err := EncodeZ85(b); err != nil || text != "HelloWorld" {
		t.Fatalf("%q, %v", text, err)
	}
	if got, err := DecodeZ85("HelloWorld"); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("% x, %v", got, err)
	}
}

func TestBadZ85IsRefusedWithoutRepeatingIt(t *testing.T) {
	for _, text := range []string{"Hello World", "Hell", "Hel\"o", "Hel\xfflo", "#####"} {
		_, err := DecodeZ85(text)
		if err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := EncodeZ85([]byte("abc")); err == nil {
		t.Error("three bytes were encoded")
	}
}

func TestPublicKeyFollowsFromSecretKey(t *testing.T) {
	for secretText, publicText := range map[string]string{
		manClientSecret: manClientPublic, manServerSecret: manServerPublic,
	} {
		secret, err := ParseSecretKey(secretText)
		if err != nil {
			t.Fatal(err)
		}
		if public := secret.Public(); public.String() != publicText {
			t.Errorf("got %s, want %s", public, publicText)
		}
	}
	pair, err := GenerateKeyPair()
	if err != nil || !pair.Secret.Public().Equal(pair.Public) {
		t.Fatalf("generated pair does not fit: %v", err)
	}
}

func TestSecretKeyIsNotPrinted(t *testing.T) {
	secret, _ := ParseSecretKey(manClientSecret)
	pair := KeyPair{Secret: secret}
	for _, format := range []string{"%v", "%s", "%+v", "%#v", "%q", "%d", "%x"} {
		out := fmt.Sprintf(format, pair) + fmt.Sprintf(format, secret)
		if strings.Count(out, "[secret key]") != 2 || strings.Contains(out, manClientSecret) {
			t.Errorf("%s shows %s", format, out)
		}
	}
}

func TestPublicKeyOfLowOrderIsRefused(t *testing.T) {
	secret, _ := ParseSecretKey(manClientSecret)
	if _, err := sharedKey(&PublicKey{}, &secret); !errors.Is(err, errWeakKey) {
		t.Fatalf("got %v", err)
	}
}

const czmqSecret = `#   ****  Generated on 2026-01-02 03:04:05 by CZMQ  ****
#   ZeroMQ CURVE **Secret** Certificate
#   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.

metadata
    name = "me"
curve
    public-key = "` + manServerPublic + `"
    secret-key = "` + manServerSecret + `"
`

func TestKeyFilesOfEveryKindAreRead(t *testing.T) {
	for name, text := range map[string]string{
		"czmq": czmqSecret, "bare": manServerSecret, "with newline": manServerSecret + "\r\n", "commented": "# mine\n" + manServerSecret,
	} {
		path := writeKeyFile(t, text, 0o600)
		if secret, err := LoadSecretKey(path); err != nil || secret.Z85() != manServerSecret {
			t.Errorf("%s: %v", name, err)
		}
	}
	list := writeKeyFile(t, "# who may\n"+manClientPublic+"\n\n"+manServerPublic+"\n", 0o644)
	if keys, err := LoadPublicKeys(list); err != nil || len(keys) != 2 || keys[1].String() != manServerPublic {
		t.Errorf("list: %v, %v", keys, err)
	}
	hash := "#" + manClientPublic[1:] // a key may start with #
	if f, err := ParseKeyFile([]byte(hash)); err != nil || len(f.Bare) != 1 {
		t.Errorf("key starting with #: %+v, %v", f, err)
	}
}

func TestGeneratedCertificatesAreReadBack(t *testing.T) {
	pair, err := GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParseKeyFile([]byte(pair.SecretCertificate()))
	if secret, err2 := f.SecretKey(); err != nil || err2 != nil || secret != pair.Secret {
		t.Errorf("secret: %v, %v", err, err2)
	}
	f, err = ParseKeyFile([]byte(pair.PublicCertificate()))
	if keys, err2 := f.PublicKeys(); err != nil || err2 != nil || len(keys) != 1 || keys[0] != pair.Public {
		t.Errorf("public: %v, %v", err, err2)
	}
}

func TestSecretFileThatEveryoneMayReadIsRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o604, 0o644, 0o602, 0o666} {
		_, err := LoadSecretKey(writeKeyFile(t, manServerSecret, mode))
		if !errors.Is(err, ErrKeyFileOpen) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := LoadSecretKey(writeKeyFile(t, manServerSecret, 0o640)); err != nil {
		t.Errorf("mode 640: %v", err)
	}
}

func TestBadKeyFileSaysWhereAndKeepsTheSecret(t *testing.T) {
	wrongPair := strings.Replace(czmqSecret, manServerPublic, manClientPublic, 1)
	for name, text := range map[string]string{
		"cut":        manServerSecret[:39],
		"cut with =": "=" + manServerSecret[:38],
		"two":        manServerSecret + "\n" + manServerSecret,
		"empty":      "",
		"wrong pair": wrongPair,
		"no secret":  `public-key = "` + manServerPublic + `"`,
		"short":      `secret-key = "` + manServerSecret[:20] + `"`,
		"prose":      "this is no key",
		"too large":  strings.Repeat("#\n", keyFileBytesMax),
	} {
		path := writeKeyFile(t, text, 0o600)
		_, err := LoadSecretKey(path)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), manServerSecret[:20]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadPublicKeys(writeKeyFile(t, "curve\n", 0o644)); !errors.Is(err, ErrNoKey) {
		t.Errorf("file without keys: %v", err)
	}
}

func writeKeyFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}
