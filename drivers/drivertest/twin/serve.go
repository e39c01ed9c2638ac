package twin

import (
	"math"
	"slices"

	"nominald/drivers/profile"
)

// tableOf names the table that a reading function reads.
func tableOf(function byte) string {
	switch function {
	case 1:
		return "coil"
	case 2:
		return "discrete"
	case 3:
		return "holding"
	case 4:
		return "input"
	}
	return ""
}

// Read returns count registers or bits; function is 1 to 4. A read has to begin
// and end with a value, stay out of holes and within the profile's quirks.
func (t *Twin) Read(function byte, addr, count uint16) ([]uint16, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.p.Fallback.AnyRequest && t.left > 0 {
		t.left = t.timer()
	}
	name := tableOf(function)
	if name == "" || !(t.has(name) || t.lenient) {
		return nil, IllegalFunction
	}
	most := t.p.MaxRegisters
	if most == 0 {
		most = 125
	}
	if function <= 2 {
		most = 2000
	}
	if count == 0 || int(count) > most {
		return nil, IllegalValue
	}
	if t.refuses(span{name, int(addr), int(addr) + int(count)}) {
		return nil, IllegalAddress
	}
	if !t.lenient && !t.readable(span{name, int(addr), int(addr) + int(count)}) {
		return nil, IllegalAddress
	}
	from := t.cells
	if t.frozen != nil {
		from = t.frozen
	}
	out := make([]uint16, count)
	for i := range out {
		v, listed := from[cell{name, addr + uint16(i)}]
		if !listed && !t.lenient {
			v = 0xDEAD // what lies between the values is nobody's business
		}
		out[i] = v
	}
	return out, nil
}

// refuses tells whether a read touches a value that this variant does not have.
func (t *Twin) refuses(r span) bool {
	return slices.ContainsFunc(t.p.Points, func(pt profile.Point) bool {
		s := t.span(pt)
		return t.lacks[pt.Name] && s.table == r.table && s.first < r.end && s.end > r.first
	})
}

// Lack has the device be of a variant that does not have a point, and refuses to
// have it read, or have it again.
func (t *Twin) Lack(point string, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lacks == nil {
		t.lacks = map[string]bool{}
	}
	t.lacks[point] = on
}

// has tells whether the device has such a table at all.
func (t *Twin) has(name string) bool {
	return slices.ContainsFunc(t.spans, func(s span) bool { return s.table == name })
}

func (t *Twin) readable(r span) bool {
	begins, ends, whole := false, false, false
	for _, s := range t.spans {
		if s.table != r.table {
			continue
		}
		begins = begins || s.first == r.first
		ends = ends || s.end == r.end
		whole = whole || s == r
	}
	if !begins || !ends || (t.p.OnePerRequest && !whole) {
		return false
	}
	gap := 0
	for a := r.first; a < r.end; a++ {
		gap++
		if _, ok := t.cells[cell{r.table, uint16(a)}]; ok {
			gap = 0
		}
		inHole := slices.ContainsFunc(t.p.Holes, func(h [2]uint16) bool { return int(h[0]) <= a && a <= int(h[1]) })
		if gap > t.p.MaxGap || inHole {
			return false
		}
	}
	return true
}

// Write carries out a write of function 5, 6, 15 or 16, whole values only.
func (t *Twin) Write(function byte, addr uint16, values []uint16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := make([]uint16, len(values))
	for i := range before {
		before[i] = t.cells[cell{written(function), addr + uint16(i)}]
	}
	err := t.take(function, addr, values)
	t.log = append(t.log, Write{Function: function, Addr: addr, Values: slices.Clone(values), Before: before, Refused: err})
	if err != 0 {
		return err
	}
	return nil
}

// written names the table that a writing function writes.
func written(function byte) string {
	if function == 5 || function == 15 {
		return "coil"
	}
	return "holding"
}

// take checks a write, then does it.
func (t *Twin) take(function byte, addr uint16, values []uint16) Exception {
	if len(values) == 0 || ((function == 5 || function == 6) && len(values) != 1) {
		return IllegalValue
	}
	name := written(function)
	var targets []place
	for at := int(addr); at < int(addr)+len(values); {
		p, ok := t.placeAt(name, at)
		if !ok || p.end > int(addr)+len(values) || slices.Contains(t.p.Never, uint16(at)) {
			return IllegalAddress
		}
		if p.reg.Function != int(function) {
			return IllegalFunction
		}
		if !t.accepts(p, values[at-int(addr):p.end-int(addr)]) {
			return IllegalValue
		}
		targets = append(targets, p)
		at = p.end
	}
	if t.deaf {
		return 0
	}
	var names []string
	for _, p := range targets {
		regs := values[p.first-int(addr) : p.end-int(addr)]
		if function == 5 && !p.reg.Raw {
			regs = []uint16{regs[0] & 1}
			if values[0] == 0xFF00 {
				regs[0] = 1
			}
		}
		t.store(p.span, regs)
		if p.channel == t.channel {
			t.wrote[p.reg.Name] = layoutOf(p.reg.Type).join(regs)
			names = append(names, p.reg.Name)
		}
	}
	if len(names) > 0 {
		t.written(names)
	}
	return 0
}

// placeAt returns the writable register that begins at the address.
func (t *Twin) placeAt(table string, addr int) (place, bool) {
	for _, p := range t.places {
		if p.table == table && p.first == addr {
			return p, true
		}
	}
	return place{}, false
}

// accepts tells whether the value is one that the device takes.
func (t *Twin) accepts(p place, regs []uint16) bool {
	if p.reg.Function == 5 && !p.reg.Raw {
		return regs[0] == 0xFF00 || regs[0] == 0
	}
	v := inUnit(p.reg, layoutOf(p.reg.Type).join(regs))
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return false
	}
	slack := step(p.reg) / 2
	if (p.reg.Min != nil && v < *p.reg.Min-slack) || (p.reg.Max != nil && v > *p.reg.Max+slack) {
		return false
	}
	f := t.p.Fallback
	if f.Register != p.reg.Name || v == 0 || t.neutralIs(p.reg.Name, v) {
		return true
	}
	return v >= f.Min.Seconds()-slack && (f.Max == 0 || v <= f.Max.Seconds()+slack)
}

// inUnit is a raw value of a register in its unit, sign included.
func inUnit(r profile.Register, raw uint64) float64 {
	scale := r.Scale
	if scale == 0 {
		scale = 1
	}
	return layoutOf(r.Type).number(raw) * scale
}

// step is the least difference between two values of a register, in its unit.
func step(r profile.Register) float64 {
	if layoutOf(r.Type).real {
		return 1e-3
	}
	if r.Scale == 0 {
		return 1
	}
	return math.Abs(r.Scale)
}
