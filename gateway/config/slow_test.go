package config

import (
	"strings"
	"testing"
	"time"
)

// Deep nesting costs a parser most, up to the square of it. A megabyte must be
// told to be no config in a moment. The bound leaves room for a busy machine
// under the race detector; it takes 50 ms on an idle one.
func TestHostileMegabyteIsRefusedQuickly(t *testing.T) {
	for _, unit := range []string{"[", "- ", "{a: ", "? ", "\"", "&a ", "!!a ", "[a,", "{a,"} {
		start := time.Now()
		if _, err := parse(t, strings.Repeat(unit, maxBytes/len(unit))); err == nil {
			t.Errorf("%q: no error", unit)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q: took %v", unit, took)
		}
	}
}

// After a hundred faults the rest is not looked at: the first is known.
func TestManyFaultsAreCutShort(t *testing.T) {
	f := &faults{path: "n.yaml"}
	root, err := readNode(strings.NewReader(strings.Repeat("sites: {}\n", 5000)), "n.yaml")
	if err != nil {
		t.Fatal(err)
	}
	(&walker{faults: f}).document(root)
	if len(f.list) != maxFaults {
		t.Errorf("%d faults, want %d", len(f.list), maxFaults)
	}
	if got, want := f.first().Error(), "n.yaml:1: sites: unknown key; accepted: site, leap, meters, buses, devices, inputs, policy, http, store; did you mean site?"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
