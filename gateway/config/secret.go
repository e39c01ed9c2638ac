package config

import "log/slog"

// Secret is a value that must not reach a log, a page or a process list. It
// prints as its source.
type Secret struct {
	source string // "file:/etc/nominald/leap.key"
	value  string
}

// NewSecret wraps a value that did not come from a config file, as the
// demonstration and tests have it.
func NewSecret(source, value string) Secret { return Secret{source: source, value: value} }

// Value returns the secret itself.
func (s Secret) Value() string { return s.value }

// IsZero reports whether no secret was given.
func (s Secret) IsZero() bool { return s.source == "" && s.value == "" }

// String returns where the secret came from, never the secret.
func (s Secret) String() string {
	if s.IsZero() {
		return "none"
	}
	return s.source
}

// LogValue keeps the secret out of structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
