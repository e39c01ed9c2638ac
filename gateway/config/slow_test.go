package config

import (
	"strings"
	"testing"
	"time"
)

// A megabyte of nesting must be told to be no config in a moment, on a machine
// that a Raspberry Pi is a fifth of.
func TestHostileMegabyteIsRefusedQuickly(t *testing.T) {
	for _, unit := range []string{"[", "- ", "{a: ", "? ", "a:\n", "\"", "&a ", "!!a ", "[a,", "\n", "- a\n"} {
		start := time.Now()
		_, err := Parse(strings.NewReader(strings.Repeat(unit, maxBytes/len(unit))), "n.yaml", testEnv())
		if err == nil {
			t.Errorf("%q: no error", unit)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q: took %v", unit, took)
		}
	}
}
