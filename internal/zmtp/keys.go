package zmtp

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/curve25519"
	"golang.org/x/crypto/nacl/box"
	//lint:ignore SA1019 the key derivation of crypto_box_beforenm is HSalsa20, and box.Precompute hides a weak key
	"golang.org/x/crypto/salsa20/salsa"
)

// KeyBytes is the size of a CURVE key, public or secret; as Z85 it takes 40 characters.
const KeyBytes = 32

const keyZ85Chars = KeyBytes / 4 * 5

// errWeakKey is a public key that makes every shared secret the same, whoever holds it.
var errWeakKey = errors.New("zmtp: the peer's public key is a point of low order")

// PublicKey is a CURVE public key, long-term or short-term.
type PublicKey [KeyBytes]byte

// ParsePublicKey reads 40 characters of Z85.
func ParsePublicKey(z85 string) (PublicKey, error) {
	k, err := parseKey("public", z85)
	return PublicKey(k), err
}

// String returns the key as Z85.
func (k PublicKey) String() string { return keyText(k) }

// Equal compares in constant time.
func (k PublicKey) Equal(other PublicKey) bool {
	return subtle.ConstantTimeCompare(k[:], other[:]) == 1
}

// SecretKey is a CURVE secret key. It does not print itself; Z85 does it on purpose.
type SecretKey [KeyBytes]byte

// ParseSecretKey reads 40 characters of Z85.
func ParseSecretKey(z85 string) (SecretKey, error) {
	k, err := parseKey("secret", z85)
	return SecretKey(k), err
}

// Format says that there is a secret key, under every verb, so that no log shows which.
func (k SecretKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[secret key]") }

// Z85 returns the key as text.
func (k SecretKey) Z85() string { return keyText(k) }

// Public returns the public key that belongs to k.
func (k SecretKey) Public() PublicKey {
	public, err := curve25519.X25519(k[:], curve25519.Basepoint)
	if err != nil {
		// X25519 fails on a wrong size or a low-order point; neither is possible with the base point.
		panic("zmtp: public key: " + err.Error())
	}
	return PublicKey(public)
}

// KeyPair is a secret key and the public key that belongs to it.
type KeyPair struct {
	Public PublicKey
	Secret SecretKey
}

// GenerateKeyPair makes a new pair from the system's random source.
func GenerateKeyPair() (KeyPair, error) {
	public, secret, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return KeyPair{}, fmt.Errorf("zmtp: generate a key pair: %w", err)
	}
	return KeyPair{Public: *public, Secret: *secret}, nil
}

// sharedKey is NaCl's crypto_box_beforenm: X25519, then HSalsa20. A public key of low order, which would make a key that
// anyone can compute, is an error, which box.Precompute does not report.
func sharedKey(peer *PublicKey, own *SecretKey) (shared [KeyBytes]byte, err error) {
	point, err := curve25519.X25519(own[:], peer[:])
	if err != nil {
		return shared, errWeakKey
	}
	var zero [16]byte
	salsa.HSalsa20(&shared, &zero, (*[KeyBytes]byte)(point), &salsa.Sigma)
	clear(point)
	return shared, nil
}

func keyText(k [KeyBytes]byte) string {
	text, err := EncodeZ85(k[:])
	if err != nil {
		panic(err) // KeyBytes is a multiple of four
	}
	return text
}

func parseKey(kind, z85 string) (k [KeyBytes]byte, err error) {
	if len(z85) != keyZ85Chars {
		return k, fmt.Errorf("zmtp: a CURVE %s key is %d characters of Z85, not %d", kind, keyZ85Chars, len(z85))
	}
	b, err := DecodeZ85(z85)
	if err != nil {
		return k, fmt.Errorf("zmtp: CURVE %s key: %w", kind, err)
	}
	return [KeyBytes]byte(b), nil
}
