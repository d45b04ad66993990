package main

import (
	"log/slog"

	"gateway/backends/pair/agent"
)

// newAgent makes the agent that the flags describe.
func newAgent(f agentFlags, log *slog.Logger) (*agent.Agent, error) {
	return agent.New(agent.Options{
		Gateway: f.gateway,
		Worker:  f.worker,
		Name:    f.name,
		Slots:   f.slots,
		Token:   f.token,
		TLS:     f.tls,
		Log:     log,
	})
}
