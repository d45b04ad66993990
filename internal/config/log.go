package config

import "log/slog"

// logLevel is a word of log { level }.
type logLevel string

var logLevels = map[logLevel]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// log reads the log block.
func (r *reader) log(b *logSchema) Log {
	if b == nil {
		return Log{Format: LogText}
	}
	return Log{
		Format: oneOf(r, b.Format, LogText, LogText, LogJSON),
		Level:  logLevels[oneOf[logLevel](r, b.Level, "info", "debug", "info", "warn", "error")],
	}
}
