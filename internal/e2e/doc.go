// Package e2e tests the gateway as its users meet it: the real binary, started as a process of its own, with real peers
// on both sides. Tests that need libzmq carry the build tag libzmq.
package e2e
