//go:build !linux

package zmtp

import "errors"

// once leaves it to who can wait.
func (w *socketWriter) once(uintptr) (done bool) {
	w.err = errors.ErrUnsupported
	return true
}
