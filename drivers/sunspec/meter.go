package sunspec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nominald/drivers"
)

// MeterOptions say how a meter is wired.
type MeterOptions struct {
	// Invert turns the sign of power and swaps the counters. Most meters count
	// import positive; SolarEdge's count export (modbus.md 4).
	Invert bool
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// meter is a SunSpec meter, models 201-204 and 211-214.
type meter struct {
	site
	opts MeterOptions
}

// NewMeter returns the meter behind the registers. Nothing is read before the
// first Read.
func NewMeter(r Registers, o MeterOptions) drivers.Device {
	return &meter{site: site{regs: r, now: clock(o.Now)}, opts: o}
}

// meters are the models of a meter.
func meters() []uint16 { return []uint16{201, 202, 203, 204, 211, 212, 213, 214} }

// pick chooses the first meter model that measures power; a device may carry
// further ones for further meters, or leave some empty.
func (d *meter) pick(ctx context.Context, m Map) (Model, error) {
	models := m.all(meters()...)
	if len(models) == 0 {
		return Model{}, fmt.Errorf("found SunSpec models %s at %d, a meter has one of 201-204, 211-214: %w",
			m.IDs(), m.Base, drivers.ErrWrongDevice)
	}
	for _, model := range models {
		b, err := d.read(ctx, model)
		if err != nil && !errors.Is(err, drivers.ErrRefused) {
			return Model{}, err
		}
		if meterPower(b).OK {
			return model, nil
		}
	}
	return models[0], nil
}

// Read implements drivers.Device.
func (d *meter) Read(ctx context.Context) (drivers.Reading, error) {
	if _, err := d.ensure(ctx, d.pick); err != nil {
		return drivers.Reading{}, err
	}
	b, err := d.read(ctx, d.primary)
	if err != nil {
		return drivers.Reading{}, err
	}
	r := drivers.Reading{
		At:        d.now(),
		PowerW:    meterPower(b),
		ImportWh:  opt(b.value("TotWhImp")),
		ExportWh:  opt(b.value("TotWhExp")),
		Connected: true,
	}
	if d.opts.Invert {
		r.PowerW.V = 0 - r.PowerW.V // not -V: minus zero would show as "-0"
		r.ImportWh, r.ExportWh = r.ExportWh, r.ImportWh
	}
	return r, nil
}

// meterPower is the meter's total, or the sum of its phases where it leaves
// the total out. A sum that misses a phase would be wrong, so all count.
func meterPower(b block) drivers.Opt {
	if w, ok := b.value("W"); ok {
		return drivers.Some(w)
	}
	phases := []string{"WphA", "WphB", "WphC"}
	switch b.ID {
	case 201, 211:
		phases = phases[:1]
	case 202, 212:
		phases = phases[:2]
	}
	var sum float64
	for _, p := range phases {
		w, ok := b.value(p)
		if !ok {
			return drivers.Opt{}
		}
		sum += w
	}
	return drivers.Some(sum)
}

// Apply implements drivers.Device: a meter takes no command.
func (d *meter) Apply(context.Context, drivers.Command, time.Duration) error {
	return fmt.Errorf("command a meter: %w", drivers.ErrRefused)
}

// Release implements drivers.Device: a meter is always neutral.
func (d *meter) Release(context.Context) error { return nil }

// Describe implements drivers.Device.
func (d *meter) Describe() drivers.Description {
	about := d.about
	if d.primary.ID != 0 {
		about.Detail += fmt.Sprintf("; meter model %d at %d", d.primary.ID, d.primary.Addr)
	}
	return about
}

// opt turns a value that may be missing into a quantity.
func opt(v float64, ok bool) drivers.Opt {
	if !ok {
		return drivers.Opt{}
	}
	return drivers.Some(v)
}
