package profile

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// This file reads blocks, some of which a variant of the device may not have.

// fetch reads blocks in order. Those that the device refused before are asked for
// again at the slow pace only. Where it refuses several values together, each is
// asked for alone from then on: some of them may be there.
func (d *device) fetch(ctx context.Context, all *[]*block, again bool) error {
	for i := 0; i < len(*all); i++ {
		b := (*all)[i]
		if b.absent && !again {
			continue
		}
		err := d.r.Read(ctx, b.function, b.address, b.regs)
		if b.absent = b.lax && lacking(err); b.absent {
			if parts := d.single(b); len(parts) > 1 {
				*all = slices.Replace(*all, i, i+1, parts...)
				i--
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", d.p.Points[b.points[0]].Name, err)
		}
	}
	return nil
}

// lacking tells whether a device answered that it does not have what it was asked
// for: exceptions 1, 2 and 3 (Modbus Application Protocol 1.1b3, chapter 7).
func lacking(err error) bool {
	var e interface{ ExceptionCode() byte }
	return errors.As(err, &e) && e.ExceptionCode() >= 1 && e.ExceptionCode() <= 3
}

// single returns the values of a block as blocks of their own.
func (d *device) single(b *block) []*block {
	alone := *d.p
	alone.OnePerRequest = true
	parts := alone.blocks(d.params.Channel, func(i int) bool { return slices.Contains(b.points, i) })
	for _, part := range parts {
		part.lax = true
		if len(parts) > 1 {
			d.bind(part)
		}
	}
	return parts
}

// missing returns the points, by index, that the device refused.
func (d *device) missing() map[int]bool {
	var out map[int]bool
	for _, all := range [][]*block{d.fast, d.slow} {
		for _, b := range all {
			if !b.absent {
				continue
			}
			if out == nil {
				out = map[int]bool{}
			}
			for _, i := range b.points {
				out[i] = true
			}
		}
	}
	return out
}

// absent names those points.
func (d *device) absent() []string {
	var names []string
	missing := d.missing()
	for i, pt := range d.p.Points {
		if missing[i] {
			names = append(names, pt.Name)
		}
	}
	return names
}

// lack takes a point that the device does not have. A sum is unknown without it.
func (d *device) lack(pt Point) {
	if adds(pt.Meaning) {
		d.add(pt.Meaning, 0, false)
	}
}
