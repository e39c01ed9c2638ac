package profile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

// lookAlikes lists, for the device of a profile, which other profiles take it
// for theirs: registers that answer alike and hold nothing that tells them
// apart. A scan names all of them, and the installer chooses.
func lookAlikes() map[string][]string {
	return map[string][]string{}
}

// TestDevicesAreToldApart asks each profile about the device of each other.
func TestDevicesAreToldApart(t *testing.T) {
	all := interpreted(t)
	for _, p := range all {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, p, 2*time.Second)
			taken := []string{}
			for _, other := range all {
				ok, err := identifies(t, other, r)
				if err != nil {
					t.Fatalf("%s: %v", other.Name, err)
				}
				if ok && other != p {
					taken = append(taken, other.Name)
				}
				if !ok && other.Name == p.Name {
					t.Errorf("the profile does not know its own device: %v", p.Identify(context.Background(), r.unit))
				}
			}
			if want := lookAlikes()[p.Name]; !slices.Equal(taken, want) {
				t.Errorf("a %s is also taken for [%s], known are [%s]", p.Name, strings.Join(taken, " "), strings.Join(want, " "))
			} else if len(taken) > 0 {
				t.Logf("a %s is also taken for %s", p.Name, strings.Join(taken, ", "))
			}
		})
	}
}

// identifies asks one profile about a device.
func identifies(t *testing.T, p *profile.Profile, r *rig) (bool, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := p.Identify(ctx, r.unit)
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, drivers.ErrWrongDevice):
		return false, fmt.Errorf("error %w, want %w", err, drivers.ErrWrongDevice)
	}
	return false, nil
}
