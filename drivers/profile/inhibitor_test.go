package profile_test

import (
	"strings"
	"testing"
)

const shownRelay = `kind: relay
points: [{name: contact, address: 3, table: coil, meaning: inhibited}]
writable: [{name: contact, address: 3, function: 5}]
command:
  inhibit: [{write: contact, value: 1}]
  release: [{write: contact, value: 0}]
`

// TestStateSaysWhatIsKnown: a program that only looks, as a probe, does not call
// a load allowed that another one holds off.
func TestStateSaysWhatIsKnown(t *testing.T) {
	for _, c := range []struct {
		name, text string
		steps      string // release or inhibit before; "" only looks
		contact    uint16 // that it shows then
		mode       uint16
		want       string
		inhibited  bool
	}{
		{"closed by another", shownRelay, "", 1, 0, "held off, and not by a command of this program", true},
		{"open", shownRelay, "", 0, 0, "allowed", false},
		{"closed", shownRelay, "inhibit", 1, 0, "held off", true},
		{"does not click", shownRelay, "inhibit", 0, 0, "held off by command, and the device shows it allowed", false},
		{"economy of somebody", economizer, "", 0, 3, "economy", false},
		{"comfort", economizer, "inhibit", 0, 1, "economy; held off", true},
		{"let go", economizer, "release", 0, 1, "comfort; allowed", false},
		{"says nothing", strings.Replace(shownRelay, ", meaning: inhibited", "", 1), "", 1, 0, "not commanded", false},
	} {
		s := newSite(t, c.text)
		s.SetCoil(unitID, 3, c.contact)
		s.Set(unitID, 10, c.mode)
		d := s.open()
		switch c.steps {
		case "inhibit":
			if err := inhibit(d); err != nil {
				t.Fatal(err)
			}
		case "release":
			release(t, d)
		}
		s.SetCoil(unitID, 3, c.contact) // whatever was written
		if r := mustRead(t, d); r.State != c.want || r.Inhibited != c.inhibited {
			t.Errorf("%s: Read says %q, inhibited %v; want %q, %v", c.name, r.State, r.Inhibited, c.want, c.inhibited)
		}
	}
}
