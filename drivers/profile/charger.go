package profile

import (
	"context"
	"fmt"
	"math"
	"time"

	"nominald/drivers"
)

// charger takes a current limit a phase: 0 pauses, anything else lies between
// the smallest current of IEC 61851 and the wiring's largest.
type charger struct {
	*device
}

// leastA is the smallest current that a vehicle may be offered (IEC 61851-1,
// annex A: below 6 A there is no valid duty cycle).
const leastA = 6

// Read implements drivers.Device.
func (d *charger) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.read(ctx); err != nil {
		return drivers.Reading{}, err
	}
	r := &d.reading
	if !r.PowerW.OK && r.CurrentA.OK { // it measures currents only
		r.PowerW = drivers.Some(r.CurrentA.V * d.wattsPerA())
	}
	r.State = d.state()
	return *r, nil
}

// wattsPerA is the power of one ampere in each phase.
func (d *charger) wattsPerA() float64 {
	phases, volts := d.params.Phases, d.params.VoltageV
	if phases == 0 {
		phases = 3
	}
	if volts == 0 {
		volts = 230
	}
	return float64(phases) * volts
}

// limits returns the currents that may be set, in A a phase.
func (d *charger) limits() (low, high float64) {
	low, high = math.Max(leastA, d.params.MinA), math.Inf(1)
	for _, s := range flat(d.p.Command.Apply) {
		reg, _ := d.p.register(s.Write)
		per := map[string]float64{"command": 1, "watts": d.wattsPerA()}[s.Value]
		if per == 0 {
			continue
		}
		least, most := reg.limits()
		low, high = math.Max(low, least/per), math.Min(high, most/per)
	}
	if d.params.MaxA > 0 {
		high = math.Min(high, d.params.MaxA)
	}
	return low, high
}

// Apply implements drivers.Device. A current below the smallest pauses; what
// lies between two steps of the register is rounded down, for the limit is
// what the wiring or the target allows.
func (d *charger) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.begin(ctx, c.CurrentA, "A", valid); err != nil {
		return err
	}
	low, high := d.limits()
	v := values{"max": high, "per_a": d.wattsPerA()}
	if c.CurrentA < low || high < low {
		return d.command(ctx, d.p.Command.Pause, v, 0, valid)
	}
	a := math.Min(c.CurrentA, high)
	v["command"], v["watts"] = a, a*d.wattsPerA()
	return d.command(ctx, d.p.Command.Apply, v, a, valid)
}

// Release implements drivers.Device: what the profile says, mostly the largest
// current and no timer.
func (d *charger) Release(ctx context.Context) error {
	_, high := d.limits()
	return d.release(ctx, values{"max": high, "per_a": d.wattsPerA()})
}

// Describe implements drivers.Device. It says where the device's fallback is
// not what the load would do without this program.
func (d *charger) Describe() drivers.Description {
	about := d.device.Describe()
	low, _ := d.limits()
	if a, ok := d.last["failsafe_a"]; ok && a < low {
		about.Detail += fmt.Sprintf("; its fail-safe current is %g A, so it pauses if this program dies", a)
	}
	return about
}
