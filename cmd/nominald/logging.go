package main

import (
	"io"
	"log/slog"
	"os"
)

// newLogger logs lines of text to w. Under systemd the journal knows the time
// of each line, so it is left out.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		opts.ReplaceAttr = withoutTime
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
