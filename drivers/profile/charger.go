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

// Read implements drivers.Device. The timer that the device reports is held
// against the one it was given; another value has everything written again.
func (d *charger) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.read(ctx); err != nil {
		return drivers.Reading{}, err
	}
	if timer, ok := d.last["timer_s"]; ok && d.written.timer > 0 && timer != d.written.timer.Seconds() {
		d.notes = append(d.notes, fmt.Sprintf("fail-safe time reads %g s, set to %g s", timer, d.written.timer.Seconds()))
		d.written = sequence{changed: d.written.changed}
	}
	d.fillPower()
	d.reading.State = d.state()
	return d.reading, nil
}

// fillPower estimates the power of a device that measures currents only.
func (d *charger) fillPower() {
	if d.reading.PowerW.OK || !d.reading.CurrentA.OK {
		return
	}
	phases, volts := d.params.Phases, d.params.VoltageV
	if phases == 0 {
		phases = 3
	}
	if volts == 0 {
		volts = 230
	}
	d.reading.PowerW = drivers.Some(d.reading.CurrentA.V * float64(phases) * volts)
}

// limits returns the currents that may be set, in A a phase.
func (d *charger) limits() (low, high float64) {
	for _, s := range d.p.Command.Apply {
		if reg, ok := d.p.register(s.Write); ok && s.Value == "command" {
			low, high = reg.limits()
		}
	}
	low = math.Max(low, d.params.MinA)
	if d.params.MaxA > 0 {
		high = math.Min(high, d.params.MaxA)
	}
	return low, high
}

// Apply implements drivers.Device. A current below the smallest pauses; what
// lies between two steps of the register is rounded down, for the limit is
// what the wiring or the target allows.
func (d *charger) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.consent(); err != nil {
		return err
	}
	if math.IsNaN(c.CurrentA) || valid <= 0 {
		return fmt.Errorf("command %v A for %v: no such command: %w", c.CurrentA, valid, drivers.ErrRefused)
	}
	timer := d.timer(valid)
	low, high := d.limits()
	v := values{"timer": timer.Seconds(), "max": high}
	if c.CurrentA < low || high < low {
		return d.write(ctx, d.p.Command.Pause, v, timer)
	}
	v["command"] = math.Floor(math.Min(c.CurrentA, high)*1000+1e-6) / 1000
	return d.write(ctx, d.p.Command.Apply, v, timer)
}

// Release implements drivers.Device: enabled, the largest current, no timer.
func (d *charger) Release(ctx context.Context) error {
	_, high := d.limits()
	d.written = sequence{}
	err := d.write(ctx, d.p.Command.Release, values{"max": high}, 0)
	d.written = sequence{}
	return err
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
