//go:build soak

package e2e

const (
	reloads         = 100
	reloadZMTPConns = 2000
	reloadStreams   = 500
)
