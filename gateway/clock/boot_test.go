package clock

import (
	"testing"
	"time"
)

// TestProcessOfTheSameBootGoesOn: the last process knew the time, the machine
// was not rebooted and nobody stepped the clock.
func TestProcessOfTheSameBootGoesOn(t *testing.T) {
	wall := time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC)
	sinceBoot := 3 * time.Hour
	offset := time.Duration(wall.UnixNano()) - sinceBoot
	for name, tc := range map[string]struct {
		carried Carried
		stepped time.Duration
		want    State
	}{
		"the same boot":            {Carried{"a", offset, time.Hour}, 0, State{true, Holdover}},
		"another boot":             {Carried{"b", offset, time.Hour}, 0, State{false, NotSynchronised}},
		"stepped by ten seconds":   {Carried{"a", offset, time.Hour}, 10 * time.Second, State{false, NotSynchronised}},
		"stepped back by one hour": {Carried{"a", offset, time.Hour}, -time.Hour, State{false, NotSynchronised}},
		"from the future":          {Carried{"a", offset, 4 * time.Hour}, 0, State{false, NotSynchronised}},
		"nothing carried":          {Carried{}, 0, State{false, NotSynchronised}},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(Options{
				Now:          func() time.Time { return wall.Add(tc.stepped) },
				Elapsed:      func() time.Duration { return sinceBoot },
				Synchronised: func() (bool, error) { return false, nil },
				BootID:       "a", Carried: &tc.carried,
			})
			if got := c.State(); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			next, ok := c.Carry()
			if ok != tc.want.Trusted || (ok && next != tc.carried) {
				t.Errorf("hands on %+v, %t; want the same as it got", next, ok)
			}
		})
	}
}

func TestBootIDIsRead(t *testing.T) {
	if a, b := BootID(), BootID(); a != b || (a != "" && len(a) != 36) {
		t.Errorf("got %q and %q, want one UUID twice", a, b)
	}
}
