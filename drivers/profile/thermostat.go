package profile

import (
	"context"
	"fmt"
	"math"
	"time"

	"nominald/drivers"
)

const (
	defaultOffsetK = 2.0
	// showsAfter is how long a device may take to show a written set-point
	// (modbus.md 8); until then the old one is no sign of an override.
	showsAfter = 10 * time.Second
)

// thermostat shifts the set-point that the occupant had. What the occupant had
// is remembered before the first shift and outlives a restart; a set-point
// changed by hand wins until the next Release.
type thermostat struct {
	*device
	override bool
	unsure   bool      // the last write failed and may have arrived all the same
	sentAt   time.Time // zero after a restart
}

// shift is what is remembered: temperatures in C. The zero value is no shift.
type shift struct {
	UserC float64 `json:"user_c"` // what the occupant had
	SentC float64 `json:"sent_c"` // what was written instead
	PrevC float64 `json:"prev_c"` // what was written before that
	On    bool    `json:"on"`
}

// Read implements drivers.Device.
func (d *thermostat) Read(ctx context.Context) (drivers.Reading, error) {
	commanded := d.order.key != ""
	err := d.read(ctx)
	if commanded && d.order.key == "" { // it may have restarted, with the set-point from before
		d.unsure = true
	}
	if err != nil {
		return drivers.Reading{}, err
	}
	d.watch()
	if d.override {
		d.notes = append(d.notes, "override")
	}
	if !d.reading.SetpointC.OK {
		d.notes = append(d.notes, "set-point is not in tenths of a degree Celsius, or not there")
	}
	d.reading.State = d.state()
	return d.reading, nil
}

// watch finds out whether the occupant changed the set-point during a shift.
func (d *thermostat) watch() {
	now := d.reading.SetpointC
	if !d.kept.On || d.override || !now.OK || near(now.V, d.kept.SentC) {
		return
	}
	pending := near(now.V, d.kept.PrevC) && (d.unsure || d.now().Sub(d.sentAt) < showsAfter)
	d.override = !pending
}

// near compares set-points; half of the smallest step counts as equal.
func near(a, b float64) bool { return math.Abs(a-b) < 0.05 }

// Apply implements drivers.Device. A positive offset asks for less load: warmer
// when cooling, colder when heating.
func (d *thermostat) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.begin(ctx, c.OffsetK, "K", valid); err != nil {
		return err
	}
	if !d.identified {
		if _, err := d.Read(ctx); err != nil {
			return err
		}
	}
	if d.override {
		return fmt.Errorf("the occupant changed the set-point during the event, it is left alone until the end: %w", drivers.ErrRefused)
	}
	if !d.reading.SetpointC.OK {
		return fmt.Errorf("%s: the set-point is unknown, is the interface set to tenths of a degree Celsius?: %w", d.p.Name, drivers.ErrRefused)
	}
	user := d.reading.SetpointC.V
	if d.kept.On {
		user = d.kept.UserC
	}
	target, err := d.target(user, c.OffsetK)
	if err != nil {
		return err
	}
	return d.move(ctx, user, target, valid)
}

// target returns the shifted set-point, within the mode's limits. A set-point
// that already lies outside is not moved further out.
func (d *thermostat) target(user, offset float64) (float64, error) {
	if on, ok := d.last["on"]; ok && on == 0 {
		return user, nil
	}
	var mode Mode
	found := false
	for _, m := range d.p.Modes {
		if raw, ok := d.raw["state"]; ok && raw == m.Value {
			mode, found = m, true
		}
	}
	if !found {
		return 0, fmt.Errorf("%s: in mode %q a set-point shift changes no load: %w", d.p.Name, d.reading.State, drivers.ErrRefused)
	}
	direction := mode.Direction
	if room, ok := d.last["temperature_c"]; direction == 0 && ok {
		direction = 1
		if room < user {
			direction = -1
		}
	}
	most := d.params.MaxOffsetK
	if most <= 0 {
		most = defaultOffsetK
	}
	offset = math.Min(math.Max(offset, -most), most)
	low, high := math.Min(mode.Min, user), math.Max(mode.Max, user)
	target := math.Min(math.Max(user+direction*offset, low), high)
	return math.Round(target*10) / 10, nil
}

// move writes a set-point, after what it replaces is safe.
func (d *thermostat) move(ctx context.Context, user, target float64, valid time.Duration) error {
	standing := user
	if d.kept.On {
		standing = d.kept.SentC
	}
	if near(standing, target) && !d.unsure {
		if d.order.key == "" && (!d.kept.On || near(d.reading.SetpointC.V, target)) {
			return nil // it stands there already, from before a restart or by the occupant
		}
		return d.command(ctx, d.p.Command.Apply, values{"command": target}, target, valid)
	}
	if !d.sentAt.IsZero() && d.now().Sub(d.sentAt) < d.p.MinInterval && !d.unsure {
		return nil // too soon for another set-point; the worker applies again
	}
	before := standing
	if d.unsure { // what was sent last may not stand there
		before = d.kept.PrevC
	}
	if err := d.save(shift{UserC: user, SentC: target, PrevC: before, On: true}); err != nil {
		return err
	}
	d.order.forget()
	err := d.command(ctx, d.p.Command.Apply, values{"command": target}, target, valid)
	d.unsure = err != nil
	if err == nil {
		d.sentAt = d.now()
	}
	return err
}

// save remembers a shift before it is written, so that a crash between the two
// restores a set-point that did not change rather than loses one that did.
func (d *thermostat) save(s shift) error {
	before := d.kept.shift
	d.kept.shift = s
	if err := d.remember(); err != nil {
		d.kept.shift = before
		return err
	}
	return nil
}

// Release implements drivers.Device: the occupant's set-point is back, unless
// the occupant has chosen another meanwhile.
func (d *thermostat) Release(ctx context.Context) error {
	if _, err := d.Read(ctx); err != nil {
		return err
	}
	if d.kept.On && !d.override && !near(d.reading.SetpointC.Or(d.kept.SentC), d.kept.UserC) {
		if err := d.release(ctx, values{"remembered": d.kept.UserC}); err != nil {
			return err
		}
	}
	d.override, d.unsure, d.order, d.sentAt = false, false, order{}, time.Time{}
	if !d.kept.On {
		return nil
	}
	return d.save(shift{})
}
