package profile

import (
	"context"
	"encoding/json"
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
	shift    shift
	loaded   bool
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
	if err := d.remembered(); err != nil {
		return drivers.Reading{}, err
	}
	if err := d.read(ctx); err != nil {
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

// remembered loads what survived a restart.
func (d *thermostat) remembered() error {
	if d.loaded || d.params.Remember == nil {
		return nil
	}
	data, err := d.params.Remember.Load()
	if err != nil {
		return fmt.Errorf("load the occupant's set-point: %w", err)
	}
	d.loaded = true
	if len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, &d.shift); err != nil {
		return fmt.Errorf("load the occupant's set-point: %w", err)
	}
	return nil
}

// watch finds out whether the occupant changed the set-point during a shift.
func (d *thermostat) watch() {
	now := d.reading.SetpointC
	if !d.shift.On || d.override || !now.OK || near(now.V, d.shift.SentC) {
		return
	}
	pending := near(now.V, d.shift.PrevC) && (d.unsure || d.now().Sub(d.sentAt) < showsAfter)
	d.override = !pending
}

// near compares set-points; half of the smallest step counts as equal.
func near(a, b float64) bool { return math.Abs(a-b) < 0.05 }

// Apply implements drivers.Device. A positive offset asks for less load: warmer
// when cooling, colder when heating.
func (d *thermostat) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.consent(); err != nil {
		return err
	}
	if math.IsNaN(c.OffsetK) || valid <= 0 {
		return fmt.Errorf("command %v K for %v: no such command: %w", c.OffsetK, valid, drivers.ErrRefused)
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
	if d.shift.On {
		user = d.shift.UserC
	}
	target, err := d.target(user, c.OffsetK)
	if err != nil {
		return err
	}
	return d.move(ctx, user, target)
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
func (d *thermostat) move(ctx context.Context, user, target float64) error {
	standing := user
	if d.shift.On {
		standing = d.shift.SentC
	}
	if near(standing, target) && !d.unsure {
		return nil
	}
	if !d.sentAt.IsZero() && d.now().Sub(d.sentAt) < d.p.MinInterval && !d.unsure {
		return nil // too soon for another set-point; the worker applies again
	}
	before := standing
	if d.unsure { // what was sent last may not stand there
		before = d.shift.PrevC
	}
	if err := d.save(shift{UserC: user, SentC: target, PrevC: before, On: true}); err != nil {
		return err
	}
	d.written = sequence{}
	err := d.write(ctx, d.p.Command.Apply, values{"command": target}, 0)
	d.unsure = err != nil
	if err == nil {
		d.sentAt = d.now()
	}
	return err
}

// save remembers a shift before it is written, so that a crash between the two
// restores a set-point that did not change rather than loses one that did.
func (d *thermostat) save(s shift) error {
	if d.params.Remember != nil {
		data, err := json.Marshal(s)
		if err == nil && !s.On {
			data = nil
		}
		if err == nil {
			err = d.params.Remember.Save(data)
		}
		if err != nil {
			return fmt.Errorf("remember the occupant's set-point: %w", err)
		}
	}
	d.shift = s
	return nil
}

// Release implements drivers.Device: the occupant's set-point is back, unless
// the occupant has chosen another meanwhile.
func (d *thermostat) Release(ctx context.Context) error {
	if _, err := d.Read(ctx); err != nil {
		return err
	}
	if d.shift.On && !d.override && !near(d.reading.SetpointC.Or(d.shift.SentC), d.shift.UserC) {
		d.written = sequence{}
		if err := d.write(ctx, d.p.Command.Release, values{"remembered": d.shift.UserC}, 0); err != nil {
			return err
		}
	}
	d.override, d.unsure, d.written, d.sentAt = false, false, sequence{}, time.Time{}
	if !d.shift.On {
		return nil
	}
	return d.save(shift{})
}
