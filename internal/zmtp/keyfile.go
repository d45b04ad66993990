package zmtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

const (
	keyFileBytesMax = 1 << 20 // an allow list of some 25 000 keys
	// othersReadWrite are the permission bits that a file with a secret must not have.
	othersReadWrite fs.FileMode = 0o006
)

var (
	// ErrKeyFileOpen is what errors.Is finds when a file with a secret key can be read or written by everyone.
	ErrKeyFileOpen = errors.New("zmtp: everyone can read or write the secret key's file")
	// ErrNoKey is what errors.Is finds when a text holds no key of the kind that was asked for.
	ErrNoKey = errors.New("zmtp: no such key")
)

// The lines of a czmq certificate (RFC 4, ZPL): a section's name alone, or a property and its quoted value. The quotes
// are required, so that a key of the wrong length, which may hold a =, is not taken for a property.
var (
	certificateSection  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	certificateProperty = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_/-]*)\s*=\s*"(.*)"$`)
)

// sectionCharsMax keeps a key of the wrong length from being taken for a section's name.
const sectionCharsMax = 20

// KeyFile is what a key file says: a czmq certificate (public key, secret key or both), or bare Z85 keys, one a line.
// In a certificate and among bare keys, lines that start with # are comments; a 40-character line of Z85 is a key even
// so, as # is one of Z85's characters.
type KeyFile struct {
	Public []PublicKey // public-key entries of a certificate
	Secret []SecretKey // secret-key entries of a certificate
	Bare   []string    // lines of 40 Z85 characters, which do not say what they are
}

// ParseKeyFile reads the text of a key file.
func ParseKeyFile(text []byte) (KeyFile, error) {
	var f KeyFile
	for i, raw := range bytes.Split(text, []byte("\n")) {
		if err := f.parseLine(strings.TrimSpace(string(raw))); err != nil {
			return KeyFile{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return f, nil
}

func (f *KeyFile) parseLine(line string) error {
	if isZ85Key(line) {
		f.Bare = append(f.Bare, line)
		return nil
	}
	if line == "" || line[0] == '#' || len(line) <= sectionCharsMax && certificateSection.MatchString(line) {
		return nil
	}
	property := certificateProperty.FindStringSubmatch(line)
	if property == nil {
		return fmt.Errorf("neither a key of %d Z85 characters nor a line of a certificate", keyZ85Chars)
	}
	switch name, value := property[1], property[2]; name {
	case "public-key":
		key, err := ParsePublicKey(value)
		if err != nil {
			return err
		}
		f.Public = append(f.Public, key)
	case "secret-key":
		key, err := ParseSecretKey(value)
		if err != nil {
			return err
		}
		f.Secret = append(f.Secret, key)
	}
	return nil
}

// SecretKey returns the one secret key: of a certificate, or the one bare line. A public key beside it must belong to it.
func (f KeyFile) SecretKey() (SecretKey, error) {
	var secret SecretKey
	switch {
	case len(f.Secret) == 1:
		secret = f.Secret[0]
	case len(f.Secret) == 0 && len(f.Public) == 0 && len(f.Bare) == 1:
		return ParseSecretKey(f.Bare[0])
	case len(f.Secret) == 0:
		return secret, fmt.Errorf("%w: want secret-key = \"...\", or one line of %d Z85 characters", ErrNoKey, keyZ85Chars)
	default:
		return secret, fmt.Errorf("%w: want one secret key, not %d", ErrNoKey, len(f.Secret))
	}
	for _, public := range f.Public {
		if !public.Equal(secret.Public()) {
			return SecretKey{}, fmt.Errorf("the public key %s does not belong to the secret key beside it", public)
		}
	}
	return secret, nil
}

// PublicKeys returns all public keys: of a certificate, or every bare line.
func (f KeyFile) PublicKeys() ([]PublicKey, error) {
	keys := f.Public
	if len(f.Secret) == 0 {
		for _, line := range f.Bare {
			key, err := ParsePublicKey(line)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: want public-key = \"...\", or lines of %d Z85 characters", ErrNoKey, keyZ85Chars)
	}
	return keys, nil
}

// LoadSecretKey reads the secret key of a file that not everyone may read (ErrKeyFileOpen otherwise).
func LoadSecretKey(path string) (SecretKey, error) {
	f, mode, err := loadKeyFile(path)
	if err != nil {
		return SecretKey{}, err
	}
	if mode&othersReadWrite != 0 {
		return SecretKey{}, fmt.Errorf("%s has mode %#o; run chmod 600 on it, and make a new key if others were there: %w",
			path, mode, ErrKeyFileOpen)
	}
	secret, err := f.SecretKey()
	if err != nil {
		return SecretKey{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return secret, nil
}

// LoadPublicKeys reads all public keys of a file.
func LoadPublicKeys(path string) ([]PublicKey, error) {
	f, _, err := loadKeyFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := f.PublicKeys()
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return keys, nil
}

// loadKeyFile takes the mode from the open file, so that it is the mode of what was read.
func loadKeyFile(path string) (KeyFile, fs.FileMode, error) {
	file, err := os.Open(path)
	if err != nil {
		return KeyFile{}, 0, fmt.Errorf("open key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return KeyFile{}, 0, fmt.Errorf("key file %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, keyFileBytesMax+1))
	if err != nil {
		return KeyFile{}, 0, fmt.Errorf("read key file %s: %w", path, err)
	}
	if len(text) > keyFileBytesMax {
		return KeyFile{}, 0, fmt.Errorf("key file %s has more than %d bytes", path, keyFileBytesMax)
	}
	f, err := ParseKeyFile(text)
	if err != nil {
		return KeyFile{}, 0, fmt.Errorf("key file %s, %w", path, err)
	}
	return f, info.Mode().Perm(), nil
}

// PublicCertificate returns the text of a czmq certificate with the public key alone.
func (p KeyPair) PublicCertificate() string {
	return "#   ZeroMQ CURVE Public Certificate\n" +
		"#   Check with its owner that it is theirs before you trust it.\n\n" +
		"metadata\ncurve\n    public-key = \"" + p.Public.String() + "\"\n"
}

// SecretCertificate returns the text of a czmq certificate with both keys. Write it with mode 0600.
func (p KeyPair) SecretCertificate() string {
	return "#   ZeroMQ CURVE **Secret** Certificate\n" +
		"#   Give this file to nobody, and keep its mode at 0600.\n\n" +
		"metadata\ncurve\n    public-key = \"" + p.Public.String() + "\"\n    secret-key = \"" + p.Secret.Z85() + "\"\n"
}

func isZ85Key(line string) bool {
	if len(line) != keyZ85Chars {
		return false
	}
	for i := range len(line) {
		if z85Values[line[i]] == z85None {
			return false
		}
	}
	return true
}
