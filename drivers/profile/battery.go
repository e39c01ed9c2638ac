package profile

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"nominald/drivers"
)

// battery takes a power, discharge positive: as one signed set-point, or as a
// mode and a magnitude for each direction.
type battery struct {
	*device
}

// deadZoneW is the power below which a battery with a hold sequence holds: one
// that changes its mode with each flicker around zero wears its contactor.
const deadZoneW = 20

// Read implements drivers.Device.
func (d *battery) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.read(ctx); err != nil {
		return drivers.Reading{}, err
	}
	r := &d.reading
	if d.params.CapacityWh.OK {
		r.CapacityWh = d.params.CapacityWh
	}
	// What the device says of itself, within what it may be told. Where it says
	// nothing the limit of a register is no rating.
	discharge, charge := d.limits()
	if r.MaxDischargeW.OK {
		r.MaxDischargeW = drivers.Some(discharge)
	}
	if r.MaxChargeW.OK {
		r.MaxChargeW = drivers.Some(charge)
	}
	if d.unrated("max_discharge_w", d.params.MaxDischargeW) && len(d.p.Command.Release) > 0 {
		d.notes = append(d.notes, "tells no rating, so it is not discharged without max_discharge_kw")
	}
	r.State = d.state()
	return *r, nil
}

// unrated tells whether nobody says how much the battery may do one way: neither
// its owner nor the device. The limit of a register is no rating: it is made for
// the largest model of the maker.
func (d *battery) unrated(meaning string, owner drivers.Opt) bool {
	return !owner.OK && !(d.last[meaning] > 0)
}

// rated refuses a command in a direction for which nobody said how much.
func (d *battery) rated(w float64) error {
	switch {
	case w > 0 && d.unrated("max_discharge_w", d.params.MaxDischargeW):
		return fmt.Errorf("%s: discharge with %g W: the device tells no rating, set max_discharge_kw to what the battery may do: %w", d.p.Name, w, drivers.ErrRefused)
	case w < 0 && d.unrated("max_charge_w", d.params.MaxChargeW):
		return fmt.Errorf("%s: charge with %g W: the device tells no rating, set max_charge_kw to what the battery may do: %w", d.p.Name, -w, drivers.ErrRefused)
	}
	return nil
}

// Unrated returns the config keys without which a battery of the profile is not
// commanded: the device tells no rating of its own.
func (p *Profile) Unrated() []string {
	if p.Kind != drivers.Battery || p.Driver != "" || len(p.Command.Release) == 0 {
		return nil
	}
	var keys []string
	for _, k := range []struct{ meaning, key string }{{"max_discharge_w", "max_discharge_kw"}, {"max_charge_w", "max_charge_kw"}} {
		if !slices.ContainsFunc(p.Points, func(pt Point) bool { return pt.Meaning == k.meaning }) {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// limits are the largest powers that may be commanded, W: the owner's, those of
// the registers, and what the device itself said at the last Read.
func (d *battery) limits() (discharge, charge float64) {
	discharge, charge = math.Inf(1), math.Inf(1)
	c := d.p.Command
	for _, steps := range [][]Step{c.Apply, c.Charge, c.Discharge} {
		for _, s := range flat(steps) {
			reg, _ := d.p.register(s.Write)
			switch s.Value {
			case "command":
				if reg.Max != nil {
					discharge = math.Min(discharge, math.Max(*reg.Max, 0))
				}
				if reg.Min != nil {
					charge = math.Min(charge, math.Max(-*reg.Min, 0))
				}
			case "discharge":
				if reg.Max != nil {
					discharge = math.Min(discharge, *reg.Max)
				}
			case "charge":
				if reg.Max != nil {
					charge = math.Min(charge, *reg.Max)
				}
			}
		}
	}
	// A rating of 0 is what a device without the notion shows; an owner's 0 is never.
	for _, o := range []struct {
		limit   *float64
		owner   drivers.Opt
		meaning string
	}{{&discharge, d.params.MaxDischargeW, "max_discharge_w"}, {&charge, d.params.MaxChargeW, "max_charge_w"}} {
		*o.limit = math.Min(*o.limit, o.owner.Or(*o.limit))
		if rating := d.last[o.meaning]; rating > 0 {
			*o.limit = math.Min(*o.limit, rating)
		}
	}
	return discharge, charge
}

// flat lists steps and what is written together with them.
func flat(steps []Step) []Step {
	var all []Step
	for _, s := range steps {
		all = append(append(all, s), s.Also...)
	}
	return all
}

// Apply implements drivers.Device. What exceeds a limit is cut off there; where
// neither owner nor device gave one, the command is refused.
func (d *battery) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.begin(ctx, c.PowerW, "W", valid); err != nil {
		return err
	}
	discharge, charge := d.limits()
	w := math.Min(math.Max(c.PowerW, -charge), discharge)
	if err := d.rated(w); err != nil {
		return err
	}
	steps := d.sequence(w)
	if len(d.p.Command.Hold) > 0 && math.Abs(w) < deadZoneW {
		w = 0
	}
	v := values{"command": w, "discharge": math.Max(w, 0), "charge": math.Max(-w, 0)}
	return d.command(ctx, steps, v, w, valid)
}

// sequence picks the steps for a power.
func (d *battery) sequence(w float64) []Step {
	c := d.p.Command
	switch {
	case len(c.Apply) > 0:
		return c.Apply
	case len(c.Hold) > 0 && math.Abs(w) < deadZoneW:
		return c.Hold
	case w < 0:
		return c.Charge
	default:
		return c.Discharge
	}
}

// Release implements drivers.Device.
func (d *battery) Release(ctx context.Context) error { return d.release(ctx, values{}) }
