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

// blanks are the profiles whose identity a device satisfies that answers 0 for
// whatever it is asked, as cheap meters and some gateways do for registers that
// they do not have. Each of them is a candidate that a scan shows too often.
func blanks() []string {
	return []string{
		"daikin-homehub", // limits, a mode and a power, all of which may be 0
		"eletechsup-r4d", // eight contacts and nothing else
	}
}

// zeroAlikes are look-alikes beside those, once a device answers 0 for what it
// does not have.
func zeroAlikes() map[string][]string {
	return map[string][]string{
		"eastron-sdm630": {"eastron-sdm120"}, // its first phase, at the same addresses
	}
}

// TestDevicesAreToldApart asks each profile about the device of each other, as
// they are and with zeros where the device has nothing.
func TestDevicesAreToldApart(t *testing.T) {
	all := interpreted(t)
	for _, way := range []struct {
		name    string
		lenient bool
		known   func(name string) []string
	}{
		{"refusing", false, func(name string) []string { return lookAlikes()[name] }},
		{"zeros", true, func(name string) []string { return append(zeroAlikes()[name], blanks()...) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			forEach(t, nil, func(r *rig) {
				r.twin.Lenient(way.lenient)
				if err := r.p.Identify(r.context(), r.unit); err != nil {
					r.t.Errorf("the profile does not know its own device: %v", err)
				}
				taken := r.takenFor(all)
				r.t.Logf("also taken for: %s", strings.Join(taken, ", "))
				for _, other := range taken {
					if !slices.Contains(way.known(r.p.Name), other) {
						r.t.Errorf("is also taken for %s: its identity needs a check that tells the two apart, or a place in the list with a reason", other)
					}
				}
			})
		})
	}
}

// takenFor returns the other profiles that know the device as theirs.
func (r *rig) takenFor(all []*profile.Profile) []string {
	r.t.Helper()
	var taken []string
	for _, other := range all {
		ok, err := identifies(other, r)
		if err != nil {
			r.t.Fatalf("%s: %v", other.Name, err)
		}
		if ok && other.Name != r.p.Name {
			taken = append(taken, other.Name)
		}
	}
	return taken
}

// identifies asks one profile about a device.
func identifies(p *profile.Profile, r *rig) (bool, error) {
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

// TestADeviceWithoutValuesIsKnown: one that says of a quantity that it has none,
// as its own profile describes, is the same device all the same. A battery's
// state of charge is unset while it sleeps.
func TestADeviceWithoutValuesIsKnown(t *testing.T) {
	forEach(t, nil, func(r *rig) {
		for _, pt := range r.p.Points {
			values, known := quantities()[pt.Meaning]
			if !known || len(pt.Unset) == 0 || !r.twin.Unset(pt.Meaning) {
				continue
			}
			if err := r.p.Identify(r.context(), r.unit); err != nil {
				r.t.Errorf("it has no %s: %v", pt.Name, err)
			}
			r.twin.Measure(pt.Meaning, values[1])
		}
	})
}

// TestEveryMarkerIsKnown holds each check of an identity against all the markers
// of the point in the same registers, in whatever channel.
func TestEveryMarkerIsKnown(t *testing.T) {
	for _, p := range interpreted(t) {
		for _, c := range p.Identity {
			for _, pt := range p.Points {
				if pt.Table != c.Table || pt.Address != c.Address || pt.Type != c.Type {
					continue
				}
				for _, raw := range pt.Unset {
					if found, accepted := c.Compare(raw); accepted != "" {
						t.Errorf("%s: %s shows %#x for no value, which its identity takes for %s and another device (%s)", p.Name, pt.Name, raw, found, accepted)
					}
				}
			}
		}
	}
}
