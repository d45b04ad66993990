package bridge

import (
	"crypto/sha256"
	"crypto/subtle"
)

// login checks a PLAIN user. It takes as long for a name that does not exist, and compares in constant time.
func (a Access) login(user, password string) error {
	known, exists := a.Users[user]
	given, want := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(known))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 || !exists {
		return errUser
	}
	return nil
}
