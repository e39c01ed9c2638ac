package profile_test

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/profile"
)

// TestAStuckValueIsLegal: a device may well measure the same for hours.
func TestAStuckValueIsLegal(t *testing.T) {
	forEach(t, func(p *profile.Profile) bool { return !commanded(p) }, func(r *rig) {
		first := r.read()
		r.twin.Freeze(true)
		for range 20 {
			r.pass(time.Minute)
			got := r.read()
			first.At = got.At
			if got != first {
				r.t.Fatalf("nothing changed, Read says %+v and then %+v", first, got)
			}
		}
	})
}

// TestACommandThatIsNotHeldIsNoticed has a device acknowledge writes and not do
// them, and one whose registers stick, where the profile says how to see that.
func TestACommandThatIsNotHeldIsNoticed(t *testing.T) {
	seen := func(p *profile.Profile) bool { return p.ReadBack.Point != "" }
	for _, way := range []struct {
		name  string
		stick func(*rig, bool)
	}{
		{"deaf", func(r *rig, on bool) { r.twin.Deafen(on) }},
		{"frozen", func(r *rig, on bool) { r.twin.Freeze(on) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			forEach(t, seen, func(r *rig) {
				c := r.example()
				r.read()
				way.stick(r, true)
				if !r.complains(c.Command) {
					r.t.Error("nobody noticed that the device does not follow")
				}
				way.stick(r, false)
				for end := r.now.Add(5 * time.Minute); r.now.Before(end); r.pass(pace) {
					r.read()
					_ = r.device.Apply(r.context(), c.Command, drivertest.Lease) // may still complain
				}
				r.obeys("mended", asked{c.Command, c.Want - resolution(r.p), c.Want + resolution(r.p), false})
				if r.complains(c.Command) {
					r.t.Errorf("the device follows again, Read says %q", r.read().State)
				}
			})
		})
	}
}

// complains keeps a command up for a while and tells whether the driver said
// that it is not followed.
func (r *rig) complains(c drivers.Command) bool {
	r.t.Helper()
	for range 6 {
		err := r.device.Apply(r.context(), c, drivertest.Lease)
		if err != nil && !errors.Is(err, drivers.ErrRefused) {
			r.t.Fatalf("Apply: %v", err)
		}
		said := r.read().State
		if err != nil || strings.Contains(said, "does not hold") || strings.Contains(said, "its timer reads") {
			return true
		}
		r.pass(max(r.p.ReadBack.After, pace))
	}
	return false
}

// TestShiftsGoTheWayOfTheMode shifts the set-point in each mode, with the room
// above and below it: less load is warmer where it cools, colder where it heats.
func TestShiftsGoTheWayOfTheMode(t *testing.T) {
	shifts := func(p *profile.Profile) bool { return commanded(p) && p.Kind == drivers.Thermostat && !p.Inhibits() }
	forEach(t, shifts, func(r *rig) {
		for _, name := range slices.Sorted(maps.Keys(r.p.Modes)) {
			for _, above := range []float64{4, -4} {
				r.shiftsIn(name, above)
			}
		}
	})
}

// shiftsIn asks for less load in one mode, the room so much above the set-point.
func (r *rig) shiftsIn(name string, above float64) {
	r.t.Helper()
	mode := r.p.Modes[name]
	user := math.Round((mode.Min + mode.Max) / 2)
	fresh := newRig(r.t, r.p, 2*time.Second)
	if _, ok := fresh.twin.Measure("state", float64(mode.Value)); !ok {
		r.t.Fatalf("mode %s can not be shown", name)
	}
	fresh.twin.Measure("setpoint_c", user)
	_, room := fresh.twin.Measure("temperature_c", user+above)
	want := mode.Direction
	if want == 0 {
		if !room {
			return // nobody knows which way
		}
		want = math.Copysign(1, above) // it cools a warm room
	}
	fresh.read()
	fresh.apply(drivers.Command{OffsetK: 2})
	target := math.Min(math.Max(user+2*want, mode.Min), mode.Max)
	if got, active := fresh.told(); !active || math.Abs(got-target) > math.Max(resolution(r.p), 0.05) {
		r.t.Errorf("%s, set-point %g C, room %g K above: told %g (active %v), want %g", name, user, above, got, active, target)
	}
	fresh.release()
	if got, active := fresh.told(); active {
		r.t.Errorf("%s: after Release the set-point is %g, the occupant had %g", name, got, user)
	}
}
