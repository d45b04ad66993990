//go:build soak

package relay

// How many connections come and go in TestShortConnectionsLeaveNothing.
const shortConnections = 1_000_000
