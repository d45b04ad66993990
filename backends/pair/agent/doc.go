// Package agent is the program beside a worker that binds: it keeps connections to the gateway's workers' door, and dials the
// worker afresh for each client.
package agent
