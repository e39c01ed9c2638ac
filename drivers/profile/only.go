package profile

import (
	"context"
	"fmt"
	"slices"

	"nominald/drivers"
)

// This file holds the steps with only: what somebody else chose is not undone.

// errChosen: a register holds what its owner chose, so a command leaves it. It
// goes out as a drivers.ErrRefused, for trying again soon does not help.
var errChosen = fmt.Errorf("somebody chose that: %w", drivers.ErrRefused)

// onlyIf tells whether a register with only is to be left as it is. It holds the
// step's value already, which is as good as written; or a release finds what is
// not ours to take back. A command that finds that is refused, and nothing of it
// is written.
func (d *device) onlyIf(ctx context.Context, p part, release bool) (leave bool, err error) {
	if a, ok := d.r.(assumer); ok {
		a.assume(p, p.reg.at(d.params.Channel))
		return false, nil
	}
	now, err := d.standing(ctx, p.reg)
	if err != nil {
		return false, err
	}
	holds := func(regs []uint16) bool { return slices.Equal(regs, now) }
	switch {
	case holds(p.regs):
		return true, nil
	case slices.ContainsFunc(p.only, holds):
		return release && d.foreign(p.reg), nil
	case release:
		return true, nil
	}
	return false, fmt.Errorf("%s: %s holds %s, and is changed only from %s: %w", d.p.Name, p.reg.Name, p.reg.text(now), p.reg.text(p.only...), errChosen)
}

// foreign tells whether what a release could take back is known to be somebody
// else's. That is known of registers that commands too change only from certain
// values: each such change is remembered before it is written.
func (d *device) foreign(reg Register) bool {
	return d.known && d.params.Remember != nil && d.p.claimed(reg.Name) && !slices.Contains(d.kept.Ours, reg.Name)
}

// claim remembers that a register is about to be changed from what its owner
// chose.
func (d *device) claim(req request, release bool) error {
	name := req[0].reg.Name
	if release || len(req[0].only) == 0 || slices.Contains(d.kept.Ours, name) {
		return nil
	}
	d.kept.Ours = append(d.kept.Ours, name)
	return d.remember()
}

// disclaim forgets that, after a release.
func (d *device) disclaim() error {
	if len(d.kept.Ours) == 0 {
		return nil
	}
	d.kept.Ours = nil
	return d.remember()
}

// permitted tells why a sequence must not be begun: errChosen, or that a register
// can not be read. Nothing is written.
func (d *device) permitted(ctx context.Context, steps []Step, v values) error {
	if !slices.ContainsFunc(steps, func(s Step) bool { return len(s.Only) > 0 }) {
		return nil
	}
	all, err := d.plan(steps, v)
	if err != nil {
		return err
	}
	if _, err := d.differing(ctx, all, false); err != nil {
		d.doubt(err)
		return err
	}
	return nil
}

// claimed tells whether a command writes the register with only.
func (p *Profile) claimed(name string) bool {
	return slices.ContainsFunc(sequences(), func(key string) bool {
		return key != "release" && slices.ContainsFunc(p.Command.steps(key), func(s Step) bool {
			return s.Write == name && len(s.Only) > 0
		})
	})
}

// text is values of a register in its unit, for people.
func (r Register) text(all ...[]uint16) string {
	var text string
	for i, regs := range all {
		v, ok := number(r.Type, bits(r.Type, regs))
		if r.Function == 5 {
			v, ok = float64(min(regs[0], 1)), true
		}
		if i > 0 {
			text += ", "
		}
		if !ok {
			text += "no number"
			continue
		}
		text += fmt.Sprintf("%g", scaled(v, r.Scale))
	}
	return text
}
