package profile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"nominald/drivers"
)

// values are the words of a step's value and what they mean in this command.
type values map[string]float64

// request is one write: a register, or neighbours that go out together.
type request []part

// part is one register of a request with its value encoded.
type part struct {
	reg   Register
	regs  []uint16
	timer bool
	only  [][]uint16 // what has to stand there before; nil where anything may
}

// plan renders a sequence. Nothing is sent unless all of it can be.
func (d *device) plan(steps []Step, v values) ([]request, error) {
	var all []request
	for _, s := range steps {
		var req request
		skip := false
		for i, one := range append([]Step{s}, s.Also...) {
			p, value, err := d.part(one, v)
			if err != nil {
				return nil, err
			}
			skip = skip || i == 0 && s.Unless != nil && math.Abs(value-*s.Unless) < p.reg.resolution()/2
			req = append(req, p)
		}
		if !skip {
			all = append(all, req)
		}
	}
	return all, nil
}

// part renders one register.
func (d *device) part(s Step, v values) (p part, value float64, err error) {
	reg, ok := d.p.register(s.Write)
	if !ok {
		return p, 0, fmt.Errorf("%s: register %q is not writable: %w", d.p.Name, s.Write, drivers.ErrRefused)
	}
	value, known := v[s.Value]
	if s.Value == "max" {
		value = d.largest(reg, v)
	}
	if !known {
		if value, ok = constant(s.Value); !ok {
			return p, 0, fmt.Errorf("%s: %s is not known, needed for %s: %w", d.p.Name, s.Value, s.Write, drivers.ErrRefused)
		}
	} else {
		value = d.rounded(reg, s.Value, value)
	}
	low, high := reg.limits()
	if reg.Clamp {
		value = math.Min(math.Max(value, low), high)
	}
	if value < low || value > high {
		return p, 0, fmt.Errorf("%s: %s %g %s is outside %g to %g: %w", d.p.Name, reg.Name, value, reg.Unit, low, high, drivers.ErrRefused)
	}
	regs, err := reg.encode(value)
	if err != nil {
		return p, 0, fmt.Errorf("%s: %s: %w: %w", d.p.Name, reg.Name, drivers.ErrRefused, err)
	}
	p = part{reg: reg, regs: regs, timer: s.Value == "timer"}
	for _, v := range s.Only {
		before, err := reg.encode(v)
		if err != nil {
			return p, 0, fmt.Errorf("%s: only of %s: %w: %w", d.p.Name, reg.Name, drivers.ErrRefused, err)
		}
		p.only = append(p.only, before)
	}
	return p, value, nil
}

// rounded returns a value as the register holds it. What lies between two steps
// goes towards zero where it is a limit or a power, so that neither wiring nor
// target is exceeded; a timer is rounded up before; a temperature goes to the
// nearest.
func (d *device) rounded(reg Register, word string, v float64) float64 {
	if isFloat(reg.Type) || word == "timer" || d.p.Kind == drivers.Thermostat || math.IsInf(v, 0) {
		return v
	}
	u := unscaled(v, reg.Scale)
	return scaled(math.Trunc(u+math.Copysign(1e-6, u)), reg.Scale)
}

// largest is the largest allowed current as the register takes it: in W where
// the command writes W to it.
func (d *device) largest(reg Register, v values) float64 {
	inW := func(s Step) bool { return s.Write == reg.Name && s.Value == "watts" }
	if slices.ContainsFunc(d.p.Command.Apply, inW) {
		return v["max"] * v["per_a"]
	}
	return v["max"]
}

// rendered is what requests write, without the timers in them: to tell a renewal
// from a change.
func rendered(all []request) string {
	var b strings.Builder
	for _, req := range all {
		for _, p := range req {
			b.WriteString(p.reg.Name)
			if !p.timer {
				fmt.Fprint(&b, p.regs)
			}
		}
		b.WriteByte(';')
	}
	return b.String()
}

// send writes a sequence in order, within the write budgets. A release is free:
// it is counted, and never refused.
func (d *device) send(ctx context.Context, steps []Step, v values, free bool) error {
	all, err := d.plan(steps, v)
	if err != nil {
		return err
	}
	if all, err = d.differing(ctx, all, free); err != nil {
		d.doubt(err)
		return err
	}
	if !free {
		if err := d.afford(all); err != nil {
			return err
		}
	}
	var problems []error
	before := d.connected()
	for _, req := range all {
		if err := errors.Join(d.count(req), d.claim(req, free)); err != nil {
			problems = append(problems, err)
			if !free {
				break
			}
		}
		if err := d.transmit(ctx, req); err != nil {
			problems = append(problems, err)
			break
		}
	}
	if d.connected() != before { // what was written before it broke may be gone
		d.order.shaken = true
	}
	return errors.Join(problems...)
}

// transmit writes one request. What the device refused does not wear it out.
func (d *device) transmit(ctx context.Context, req request) error {
	var regs []uint16
	for _, p := range req {
		regs = append(regs, p.regs...)
	}
	first := req[0].reg
	err := d.r.Write(ctx, byte(first.Function), first.at(d.params.Channel), regs)
	if err == nil {
		return nil
	}
	if errors.Is(err, drivers.ErrRefused) || errors.Is(err, drivers.ErrBusy) {
		d.uncount(req)
	}
	d.doubt(err)
	return fmt.Errorf("write %s: %w", first.Name, err)
}

// differing leaves out requests whose registers are written on change only and
// hold their values already, and those that only may not change. A release does
// not depend on such a register being readable.
func (d *device) differing(ctx context.Context, all []request, free bool) ([]request, error) {
	var out []request
	for _, req := range all {
		holds, err := false, error(nil)
		if len(req[0].only) > 0 {
			holds, err = d.onlyIf(ctx, req[0], free)
		} else {
			holds, err = d.holds(ctx, req)
		}
		if err != nil && !(free && errors.Is(err, drivers.ErrRefused)) {
			return nil, err
		}
		if err != nil || !holds {
			out = append(out, req)
		}
	}
	return out, nil
}

// holds reads back a request all of whose registers are written on change only.
func (d *device) holds(ctx context.Context, req request) (bool, error) {
	for _, p := range req {
		if !p.reg.Changed {
			return false, nil
		}
	}
	for _, p := range req {
		regs, err := d.standing(ctx, p.reg)
		if err != nil || !slices.Equal(regs, p.regs) {
			return false, err
		}
	}
	return true, nil
}

// standing reads a register as it is written.
func (d *device) standing(ctx context.Context, reg Register) ([]uint16, error) {
	regs := make([]uint16, width(reg.Type))
	if err := d.r.Read(ctx, readFunction(reg.Table), reg.at(d.params.Channel), regs); err != nil {
		return nil, fmt.Errorf("read %s before it is written: %w", reg.Name, err)
	}
	if reg.Function == 5 && regs[0] != 0 {
		regs[0] = 0xFF00
	}
	return regs, nil
}
