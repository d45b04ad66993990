package main

import (
	"log/slog"
	"syscall"

	"gateway/internal/config"
	"gateway/sniff"
)

const (
	descriptorsPerConnection = 2   // the client's and the target's
	descriptorsBeside        = 100 // listeners, the log, event loops, the admin port's clients
)

// warnOfDescriptors tells when the configuration lets more connections in than the process may have descriptors for. Go has
// raised the soft limit to the hard one by then.
func warnOfDescriptors(cfg *config.Config, log *slog.Logger) {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	if needed := descriptorsNeeded(cfg); limit.Cur < needed {
		log.Warn("fewer descriptors than connections may take: raise ulimit -n (LimitNOFILE= under systemd), or lower max_connections",
			"limit", limit.Cur, "needed", needed)
	}
}

// descriptorsNeeded is how many descriptors the configuration may take at most.
func descriptorsNeeded(cfg *config.Config) uint64 {
	connections := 0
	for _, l := range cfg.Listeners {
		if l.MaxConnections == 0 {
			connections += sniff.ConnectionsMaxDefault
		}
		connections += l.MaxConnections
	}
	return uint64(connections)*descriptorsPerConnection + descriptorsBeside
}
