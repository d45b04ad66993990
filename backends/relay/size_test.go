//go:build !soak

package relay

// How many connections come and go in TestShortConnectionsLeaveNothing.
const shortConnections = 3_000
