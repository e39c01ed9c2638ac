package profile_test

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/profile"
)

// occupant has somebody choose a set-point in the first mode in which a shift
// changes load.
func (r *rig) occupant() (setpoint, direction float64) {
	for _, name := range slices.Sorted(maps.Keys(r.p.Modes)) {
		if m := r.p.Modes[name]; m.Direction != 0 {
			setpoint = math.Round((m.Min + m.Max) / 2)
			r.twin.Measure("state", float64(m.Value))
			r.twin.Measure("setpoint_c", setpoint)
			return setpoint, m.Direction
		}
	}
	r.t.Fatal("no mode in which a shift changes load")
	return 0, 0
}

// asked is one command of a sweep, and what the device may be told then.
type asked struct {
	command   drivers.Command
	low, high float64 // told, in the kind's unit
	idle      bool    // being neutral is as good
}

// sweep lists commands of both signs, zero, odd fractions, and beyond the limits
// on both sides.
func (r *rig) sweep() []asked {
	step := resolution(r.p)
	switch r.p.Kind {
	case drivers.Battery:
		return r.powers(step, []float64{0, 1, -1, 37.5, -37.5, 333.33, -333.33, 1234.5, -1234.5, 2000, -2000, 4999, -4999,
			5000, -5000, 7000, -7000, 99_000, -99_000, 1e7, -1e7})
	case drivers.Inverter:
		return r.powers(step, []float64{0, 1, 1234.5, 2000, 4999})
	case drivers.Charger:
		var out []asked
		for _, a := range []float64{0, 0.5, 5.99, 6, 6.04, 7.777, 10, 12.3456, 15.99, 16, 16.01, 99, -3} {
			want := math.Min(a, siteMaxA)
			if a < siteMinA {
				want = 0
			}
			out = append(out, asked{drivers.Command{CurrentA: a}, math.Max(want-step, 0), want + 1e-6, want == siteMaxA})
		}
		return out
	case drivers.Thermostat:
		if !r.p.Inhibits() {
			return r.shifts(step)
		}
	}
	return []asked{{drivers.Command{Inhibit: true}, 1, 1, false}, {drivers.Command{Inhibit: false}, 0, 0, true}}
}

// deadZoneW is the power below which a battery that can hold does.
const deadZoneW = 20

// powers are commands in W, held to what the registers take and the device is
// rated for.
func (r *rig) powers(step float64, ws []float64) []asked {
	most, least := math.Inf(1), math.Inf(-1)
	for _, s := range carriers(r.p) {
		reg, _ := register(r.p, s.Write)
		low, high := reg.Min, reg.Max
		if s.Value == "charge" && high != nil {
			least = math.Max(least, -*high)
			continue
		}
		if low != nil && s.Value == "command" {
			least = math.Max(least, *low)
		}
		if high != nil {
			most = math.Min(most, *high)
		}
	}
	for _, pt := range r.p.Points {
		rating := 5000.0
		switch pt.Meaning {
		case "max_charge_w":
			r.twin.Measure(pt.Meaning, rating)
			least = math.Max(least, -rating)
		case "max_discharge_w":
			r.twin.Measure(pt.Meaning, rating)
			most = math.Min(most, rating)
		}
	}
	var out []asked
	for _, w := range ws {
		want := math.Min(math.Max(w, least), most)
		if len(r.p.Command.Hold) > 0 && math.Abs(want) < deadZoneW {
			want = 0
		}
		out = append(out, asked{drivers.Command{PowerW: w}, want - step, want + step, math.Abs(want) < step && restsAtZero(r.p)})
	}
	return out
}

// restsAtZero tells whether the neutral state of a device is a set-point of 0,
// so that nothing tells the two apart.
func restsAtZero(p *profile.Profile) bool {
	return slices.ContainsFunc(p.Command.Apply, func(s profile.Step) bool {
		return s.Value == "command" && slices.ContainsFunc(p.Command.Release, func(o profile.Step) bool {
			return o.Write == s.Write && o.Value == "0"
		})
	})
}

// shifts are offsets of a set-point: less load is asked for by positive ones.
func (r *rig) shifts(step float64) []asked {
	user, direction := r.occupant()
	mode := profile.Mode{}
	for _, name := range slices.Sorted(maps.Keys(r.p.Modes)) {
		if mode = r.p.Modes[name]; mode.Direction != 0 {
			break
		}
	}
	var out []asked
	for _, k := range []float64{0.5, 1, 1.26, 2, siteOffsetK, 99, -1, -99, 0} {
		shift := math.Min(math.Max(k, -siteOffsetK), siteOffsetK)
		want := math.Min(math.Max(user+shift*direction, mode.Min), mode.Max)
		near := math.Max(step, 0.05)
		out = append(out, asked{drivers.Command{OffsetK: k}, want - near, want + near, math.Abs(want-user) < near})
	}
	return out
}

// obeys checks what the device was told.
func (r *rig) obeys(when string, a asked) {
	r.t.Helper()
	got, active := r.told()
	if !active && a.idle {
		return
	}
	if !active || !(got >= a.low && got <= a.high) {
		r.t.Errorf("%s: asked %+v: the device is told %g (active %v), want %g to %g", when, a.command, got, active, a.low, a.high)
	}
}

// TestCommandsArriveInUnitAndSign asks for each command of the sweep on a device
// that knows nothing of the others.
func TestCommandsArriveInUnitAndSign(t *testing.T) {
	forEach(t, commanded, func(r *rig) {
		for i := range r.sweep() {
			r := newRig(r.t, r.p, 2*time.Second)
			a := r.sweep()[i]
			r.read()
			r.apply(a.command)
			r.obeys("first", a)
			r.apply(a.command)
			r.obeys("repeated", a)
		}
	})
}

// pace is how often the bus worker looks at a device in these tests.
const pace = 5 * time.Second

// hold keeps a command up for some time, as the bus worker does.
func (r *rig) hold(c drivers.Command, d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now.Before(end); {
		r.pass(pace)
		r.read()
		r.apply(c)
	}
}

// quiet is the least time between two changes of a command, and between two
// writes of its registers.
func (r *rig) quiet() time.Duration {
	longest := r.p.MinInterval
	for _, w := range r.p.Writable {
		longest = max(longest, w.Interval)
	}
	return longest
}

// settled is how long it may take until a changed command goes out, so that the
// writes of a day last for a day.
func (r *rig) settled() time.Duration {
	longest := r.quiet()
	for _, w := range r.p.Writable {
		if w.PerDay > 0 {
			longest = max(longest, 24*time.Hour/time.Duration(w.PerDay))
		}
	}
	return longest + 2*pace
}

// TestCommandsFollowEachOther walks through the whole sweep on one device: from
// each command to the next, then to neutral.
func TestCommandsFollowEachOther(t *testing.T) {
	forEach(t, commanded, func(r *rig) {
		r.read()
		for _, a := range r.sweep() {
			r.apply(a.command)
			r.hold(a.command, r.settled())
			r.obeys("after the others", a)
		}
		for range 2 {
			r.release()
			if v, active := r.told(); active {
				r.t.Errorf("after Release the device is told %g", v)
			}
		}
	})
}

func fallsBack(p *profile.Profile) bool {
	return commanded(p) && (p.Fallback.Register != "" || p.Fallback.After > 0)
}

// TestFallbackIsRenewedInTime keeps a command up for three times the device's
// timer, then stops: the device goes back by itself, and takes a command again.
func TestFallbackIsRenewedInTime(t *testing.T) {
	forEach(t, fallsBack, func(r *rig) {
		r.read()
		c := r.example()
		want := asked{c.Command, c.Want - resolution(r.p), c.Want + resolution(r.p), false}
		r.apply(c.Command)
		r.obeys("first", want)
		timer := r.twin.Timer()
		if timer <= 0 {
			r.t.Fatal("the device's timer does not run")
		}
		r.checkTimer(timer)
		if after := r.device.Describe().FallbackAfter; after != timer {
			r.t.Errorf("Describe says that the device holds a command for %v, its timer says %v", after, timer)
		}
		reads := true // the second half is renewed by Apply alone
		for end := r.now.Add(3 * timer); r.now.Before(end); reads = end.Sub(r.now) > timer*3/2 {
			r.pass(pace)
			if r.obeys("before it is renewed", want); r.t.Failed() {
				return
			}
			if reads {
				r.read()
			}
			r.apply(c.Command)
		}
		r.pass(timer + time.Second)
		if v, active := r.told(); active {
			r.t.Errorf("nobody renewed for %v: the device is still told %g", timer+time.Second, v)
		}
		r.read()
		r.apply(c.Command)
		r.obeys("after the fallback", want)
	})
}

// checkTimer holds the length that the device was given against the lease: no
// shorter, and longer by less than a step, within what the device accepts.
func (r *rig) checkTimer(timer time.Duration) {
	r.t.Helper()
	f := r.p.Fallback
	reg, ok := register(r.p, f.Register)
	if !ok {
		return
	}
	want := max(drivertest.Lease, f.Min)
	if f.Max > 0 {
		want = min(want, f.Max)
	}
	if step := time.Duration(reg.Scale * float64(time.Second)); timer < want || timer >= want+step+time.Millisecond {
		r.t.Errorf("for a lease of %v the timer is set to %v, want %v", drivertest.Lease, timer, want)
	}
}

// TestReleaseFromAnyState finds whatever another controller or a crash may have
// left in the writable registers.
func TestReleaseFromAnyState(t *testing.T) {
	shifts := func(p *profile.Profile) bool { return commanded(p) && (p.Kind != drivers.Thermostat || p.Inhibits()) }
	forEach(t, shifts, func(r *rig) {
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 25 {
			r.twin.Scramble(random.Uint64)
			r.restart()
			r.release()
			if v, active := r.told(); active {
				r.t.Fatalf("left-over state %d: after Release the device is told %g", i, v)
			}
		}
	})
}

// TestShiftIsTakenBackAfterARestart is the same for a set-point, which the
// occupant owns: what the program moved it moves back, whatever happened to it.
func TestShiftIsTakenBackAfterARestart(t *testing.T) {
	shifts := func(p *profile.Profile) bool { return commanded(p) && p.Kind == drivers.Thermostat && !p.Inhibits() }
	forEach(t, shifts, func(r *rig) {
		user, _ := r.occupant()
		r.read()
		r.apply(drivers.Command{OffsetK: 2})
		if v, active := r.told(); !active || v == user {
			r.t.Fatalf("shifted: told %g, active %v", v, active)
		}
		r.restart()
		r.release()
		if v, active := r.told(); active {
			r.t.Errorf("after a restart and Release the set-point is %g, the occupant had %g", v, user)
		}
	})
}

// TestWritesKeepTheirBudget changes the command all the time: for half an hour,
// and for two where the writes of a day could be used up in that.
func TestWritesKeepTheirBudget(t *testing.T) {
	bounded := func(p *profile.Profile) bool {
		return commanded(p) && (p.MinInterval > 0 || slices.ContainsFunc(p.Writable, func(w profile.Register) bool {
			return w.Budget != profile.Budget{}
		}))
	}
	forEach(t, bounded, func(r *rig) {
		cases := r.sweep()
		r.read()
		rounds := 1800 / 10
		if slices.ContainsFunc(r.p.Writable, func(w profile.Register) bool { return w.PerDay > 0 }) {
			rounds *= 4
		}
		for i := range rounds {
			err := r.device.Apply(r.context(), cases[i/2%len(cases)].command, drivertest.Lease)
			if errors.Is(err, drivers.ErrOffline) {
				r.t.Fatal(err)
			}
			_, active := r.twin.Commanded()
			r.collect(!active)
			if i%2 == 0 {
				r.read()
			}
			r.pass(min(10*time.Second, max(r.p.Fallback.Renew, time.Second)))
		}
		r.checkBudgets()
	})
}

// held is what the registers hold after a write.
func held(w stamped) []uint16 {
	if w.Function == 5 && w.Values[0] == 0xFF00 {
		return []uint16{1}
	}
	return w.Values
}

// TestStepsAreLeftOut where a profile says so: a magnitude that is 0 is not
// written.
func TestStepsAreLeftOut(t *testing.T) {
	signs := func(p *profile.Profile) bool { return p.Name == "test-signs-battery" }
	forEach(t, signs, func(r *rig) {
		r.read()
		r.apply(drivers.Command{PowerW: 1000})
		var wrote []uint16
		for _, w := range r.log {
			wrote = append(wrote, w.Addr)
		}
		if want := []uint16{50, 60, 7}; !slices.Equal(wrote, want) {
			r.t.Errorf("a discharge writes %v, want the set-point, the discharge and the coil %v", wrote, want)
		}
	})
}

// checkBudgets holds the log against the least time between two writes of a
// register, and the most writes of a day.
func (r *rig) checkBudgets() {
	for _, reg := range r.p.Writable {
		addr := reg.Address + uint16(max(r.p.Channels, 1)-1)*reg.Stride
		var last time.Time
		n := 0
		for _, w := range r.log {
			at := (w.Function == 5) == (reg.Table == "coil") && w.Addr <= addr && int(addr) < int(w.Addr)+len(w.Values)
			if !at || w.release {
				continue
			}
			n++
			if reg.Changed && slices.Equal(w.Before, held(w)) {
				r.t.Errorf("%v: % x was written to %s, which held it", w.at, w.Values, reg.Name)
			}
			if gap := w.at.Sub(last); !last.IsZero() && gap < reg.Interval {
				r.t.Errorf("%s was written again after %v, its budget is one write in %v", reg.Name, gap, reg.Interval)
			}
			last = w.at
		}
		if reg.PerDay > 0 && n > reg.PerDay {
			r.t.Errorf("%s was written %d times, its budget is %d in a day", reg.Name, n, reg.PerDay)
		}
	}
}
