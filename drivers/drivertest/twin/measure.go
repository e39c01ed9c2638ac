package twin

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

// defaults are what a device measures until it is told: an idle one.
func defaults(p *profile.Profile) map[string]float64 {
	v := map[string]float64{
		"power_w": 0, "current_a": 0, "soc": 50, "connected": 1, "temperature_c": 24, "setpoint_c": 22,
		"import_wh": 120_000, "export_wh": 80_000, "failsafe_a": 6, "on": 0, "inhibited": 0,
		"capacity_wh": 10_000, "max_charge_w": 5000, "max_discharge_w": 5000,
	}
	if p.Kind == drivers.Thermostat {
		v["on"] = 1
	}
	names := slices.Sorted(maps.Keys(p.Modes))
	for _, name := range names {
		if m := p.Modes[name]; m.Direction != 0 {
			v["state"] = float64(m.Value)
			v["setpoint_c"] = math.Round((m.Min + m.Max) / 2)
			break
		}
	}
	return v
}

// Measure has the device measure a quantity, named by the meaning of the
// profile's points, in the gateway's unit and sign; a state is its raw value.
// It returns what the registers then show, which differs by their resolution;
// not ok where the profile has no point that can show it.
func (t *Twin) Measure(meaning string, v float64) (shown float64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.user[meaning] = v
	if meaning == "power_w" {
		t.power = v
	}
	return t.show(meaning, v)
}

// Unset has the device say that it has no value of a quantity; not ok where the
// profile knows no way to say so for all of its points.
func (t *Twin) Unset(meaning string) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	points := t.points(meaning)
	for _, pt := range points {
		l := layoutOf(pt.Type)
		switch {
		case len(pt.Unset) > 0:
			t.store(t.span(pt), l.split(pt.Unset[0]))
		case l.real:
			raw := uint64(0x7FC00000)
			if l.words == 4 {
				raw = 0x7FF8000000000000
			}
			t.store(t.span(pt), l.split(raw))
		default:
			return false
		}
	}
	return len(points) > 0
}

// Force puts a value in its unit into one point, plausible or not; not ok where
// its type can not hold it or the value would say "unset".
func (t *Twin) Force(name string, v float64) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, pt := range t.p.Points {
		if pt.Name == name {
			pt.Min, pt.Max = nil, nil
			_, ok = t.put(pt, v)
		}
	}
	return ok
}

func (t *Twin) points(meaning string) []profile.Point {
	var out []profile.Point
	for _, pt := range t.p.Points {
		if pt.Meaning == meaning {
			out = append(out, pt)
		}
	}
	return out
}

// span is where a point of this channel lies.
func (t *Twin) span(pt profile.Point) span {
	first := int(pt.Address + t.channel*pt.Stride)
	return span{table(pt.Table), first, first + layoutOf(pt.Type).words}
}

// sums tells whether the points of a meaning are parts of it.
func sums(meaning string) bool {
	return meaning == "power_w" || meaning == "import_wh" || meaning == "export_wh"
}

// show puts a quantity into its points: a sum in parts, a current so that the
// first phase carries most.
func (t *Twin) show(meaning string, v float64) (shown float64, ok bool) {
	if sums(meaning) {
		return t.share(t.points(meaning), v)
	}
	for i, pt := range t.points(meaning) {
		mine := v
		if i > 0 && meaning == "current_a" {
			mine = v * 0.75
		}
		got, fits := t.put(pt, mine)
		if i == 0 {
			shown, ok = got, fits
		}
	}
	return shown, ok
}

// share spreads a sum over the points that can hold a part of it. The coarsest
// come first, so that the finest takes what is left.
func (t *Twin) share(points []profile.Point, v float64) (shown float64, ok bool) {
	slices.SortStableFunc(points, func(a, b profile.Point) int { return cmp.Compare(math.Abs(b.Scale), math.Abs(a.Scale)) })
	able := 0
	for _, pt := range points {
		if _, _, fits := rawOf(pt, v); fits {
			able++
		}
	}
	if able == 0 {
		return 0, false
	}
	for _, pt := range points {
		part := 0.0
		if _, _, fits := rawOf(pt, v); fits {
			part = (v - shown) / float64(able)
			able--
		}
		got, fits := t.put(pt, part)
		if !fits && part != 0 {
			return 0, false
		}
		shown += got
		ok = ok || fits
	}
	return shown, ok
}

// put writes a value into a point's registers and returns what they show.
func (t *Twin) put(pt profile.Point, v float64) (shown float64, ok bool) {
	if isTruth(pt.Meaning) {
		whole, ok := t.truth(pt, v != 0)
		if ok {
			t.fill(pt, whole)
		}
		return v, ok
	}
	raw, shown, ok := rawOf(pt, v)
	if ok {
		t.lay(pt, raw)
	}
	return shown, ok
}

// lay writes a raw value into a point's registers, beside other points' bits.
func (t *Twin) lay(pt profile.Point, raw uint64) { t.fill(pt, t.merged(pt, raw)) }

// fill writes the registers of a point, which may be writable ones.
func (t *Twin) fill(pt profile.Point, whole uint64) {
	s := t.span(pt)
	t.store(s, layoutOf(pt.Type).split(whole))
	for _, p := range t.places {
		if p.channel == t.channel && p.span == s {
			t.wrote[p.reg.Name] = layoutOf(p.reg.Type).join(t.load(s))
		}
	}
}

// merged is a point's raw value with the other bits of its registers.
func (t *Twin) merged(pt profile.Point, raw uint64) uint64 {
	mask := pt.Mask
	if mask == 0 && pt.Shift == 0 {
		return raw
	}
	if mask == 0 {
		mask = math.MaxUint64 << pt.Shift
	}
	return layoutOf(pt.Type).join(t.load(t.span(pt)))&^mask | raw<<pt.Shift&mask
}

// rawOf returns the raw value of one point, before its shift, and what that
// shows; not ok where the point can not show it.
func rawOf(pt profile.Point, v float64) (raw uint64, shown float64, ok bool) {
	l, scale := layoutOf(pt.Type), scaleOf(pt.Scale)
	if pt.Mask != 0 || pt.Shift != 0 {
		l = layout{words: l.words} // bits have no sign
	}
	raw, ok = l.raw(v / scale)
	shown = l.number(raw) * scale
	outside := (pt.Min != nil && shown < *pt.Min) || (pt.Max != nil && shown > *pt.Max)
	return raw, shown, ok && inMask(pt, raw) && !outside && !slices.Contains(pt.Unset, raw)
}

// mostRaw is the largest raw value of a point.
func mostRaw(pt profile.Point) uint64 {
	if pt.Mask != 0 {
		return pt.Mask >> pt.Shift
	}
	return math.MaxUint64
}

// inMask tells whether all bits of a raw value are the point's own.
func inMask(pt profile.Point, raw uint64) bool {
	return pt.Mask == 0 || raw<<pt.Shift&pt.Mask == raw<<pt.Shift
}

func isTruth(meaning string) bool {
	return meaning == "connected" || meaning == "on" || meaning == "inhibited"
}

// truth returns what the registers of a point hold for yes or no: with words, yes
// is any value that has a word, otherwise any but 0. It is one that the identity
// accepts, where there is one.
func (t *Twin) truth(pt profile.Point, yes bool) (whole uint64, ok bool) {
	for raw := uint64(0); raw <= min(mostRaw(pt), math.MaxUint16); raw++ {
		_, named := pt.Words[raw]
		means := raw != 0
		if len(pt.Words) > 0 {
			means = named
		}
		if means != yes || !inMask(pt, raw) || slices.Contains(pt.Unset, raw) {
			continue
		}
		candidate := t.merged(pt, raw)
		if t.accepted(pt, candidate) {
			return candidate, true
		}
		for _, c := range t.p.Identity { // other bits beside the point's may be needed
			for _, one := range c.OneOf {
				if c.Address == pt.Address && pt.Mask != 0 && one&pt.Mask == raw<<pt.Shift && t.accepted(pt, one) {
					return one, true
				}
			}
		}
		if !ok {
			whole, ok = candidate, true
		}
	}
	return whole, ok
}

// accepted tells whether the identity takes a value in a point's registers.
func (t *Twin) accepted(pt profile.Point, raw uint64) bool {
	return !slices.ContainsFunc(t.p.Identity, func(c profile.Check) bool {
		same := table(c.Table) == table(pt.Table) && c.Address == pt.Address && layoutOf(c.Type).words == layoutOf(pt.Type).words
		return same && c.Type != "text" && !agrees(c, raw)
	})
}

// unnamed is the least raw value that has no word.
func unnamed(pt profile.Point) (uint64, bool) {
	for raw := uint64(0); raw <= min(mostRaw(pt), math.MaxUint16); raw++ {
		if _, named := pt.Words[raw]; !named && !slices.Contains(pt.Unset, raw) {
			return raw, true
		}
	}
	return 0, false
}

// measured tells whether a point of any channel that shows something by now lies
// in the span.
func (t *Twin) measured(s span) bool {
	for _, pt := range t.p.Points {
		if _, shows := t.user[pt.Meaning]; !shows {
			continue
		}
		for channel := range uint16(max(t.p.Channels, 1)) {
			if table(pt.Table) == s.table && int(pt.Address+channel*pt.Stride) == s.first {
				return true
			}
		}
	}
	return false
}

// settle has the points that show a command follow it.
func (t *Twin) settle() {
	if t.now.plan == unclear {
		return
	}
	if reg, ok := t.register(t.p.Fallback.Register); ok {
		t.mirror("timer_s", inUnit(reg, t.wrote[reg.Name]))
	}
	switch c, active := t.now.cmd, t.now.plan != released; {
	case t.p.Kind == drivers.Relay || len(t.p.Command.Inhibit) > 0:
		held := 0.0
		if active && c.Inhibit {
			held = 1
		}
		t.mirror("inhibited", held)
		if t.p.Kind == drivers.Relay {
			t.mirror("on", held) // the contact
		}
	case t.p.Kind == drivers.Thermostat && active && len(t.p.Command.Apply) > 0:
		t.mirror("setpoint_c", c.SetpointC)
	case t.p.Kind == drivers.Thermostat:
		t.mirror("setpoint_c", t.user["setpoint_c"])
	}
	for _, pt := range t.p.Points {
		if pt.Name != "" && (pt.Name == t.p.ReadBack.Point) && !t.echoes(pt) {
			t.put(pt, t.expected(pt))
		}
	}
}

// mirror puts a value into the points of a meaning that are not themselves the
// register that is written.
func (t *Twin) mirror(meaning string, v float64) {
	for _, pt := range t.points(meaning) {
		if !t.shared(pt) {
			t.put(pt, v)
		}
	}
}

// shared tells whether a point is a register that the command in force has
// written and that reads back as written.
func (t *Twin) shared(pt profile.Point) bool {
	i := slices.IndexFunc(t.plans, func(p plan) bool { return p.name == t.now.plan })
	reg, ok := t.echo(pt)
	return ok && i >= 0 && t.plans[i].touches([]string{reg.Name})
}

// echoes tells whether a point is a register that reads back as written.
func (t *Twin) echoes(pt profile.Point) bool {
	_, ok := t.echo(pt)
	return ok
}

func (t *Twin) echo(pt profile.Point) (profile.Register, bool) {
	s := t.span(pt)
	i := slices.IndexFunc(t.places, func(p place) bool {
		return p.channel == t.channel && p.span == s && p.reg.Type == pt.Type && !t.codes(p.reg)
	})
	if i < 0 {
		return profile.Register{}, false
	}
	return t.places[i].reg, true
}

// codes tells whether what is written to a relay's register are words of the
// maker's own, so that the register reads as the contact instead.
func (t *Twin) codes(reg profile.Register) bool {
	if t.p.Kind != drivers.Relay || reg.Function == 5 {
		return false
	}
	return slices.ContainsFunc(t.plans, func(p plan) bool {
		return slices.ContainsFunc(p.steps, func(s profile.Step) bool {
			c, ok := constant(s.Value)
			return s.Write == reg.Name && (!ok || c > 1)
		})
	})
}

// expected is what a point that shows the command shows.
func (t *Twin) expected(pt profile.Point) float64 {
	c := t.now.cmd
	if t.now.plan == released {
		if t.p.Kind == drivers.Charger {
			return math.Max(t.site.MaxA, 0)
		}
		return 0
	}
	switch t.p.Kind {
	case drivers.Charger:
		if pt.Unit == "W" {
			return c.CurrentA * t.phaseVolts()
		}
		return c.CurrentA
	case drivers.Thermostat:
		return c.SetpointC
	case drivers.Relay:
		if c.Inhibit {
			return 1
		}
		return 0
	}
	return c.PowerW
}

// Follow has the measured power of a battery or a charger follow its command
// with a lag; 0 ends that. A charger draws no more than was last measured: the
// vehicle's own limit.
func (t *Twin) Follow(lag time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lag = lag
}

// chase moves the measured power towards the command.
func (t *Twin) chase(dt time.Duration) {
	if t.lag <= 0 || t.now.plan == unclear {
		return
	}
	goal := t.user["power_w"]
	if t.now.plan != released {
		switch t.p.Kind {
		case drivers.Battery:
			goal = t.now.cmd.PowerW
		case drivers.Charger:
			goal = math.Min(goal, t.now.cmd.CurrentA*t.phaseVolts())
		case drivers.Inverter:
			goal = math.Min(goal, t.now.cmd.PowerW)
		}
	}
	t.power += (goal - t.power) * (1 - math.Exp(-dt.Seconds()/t.lag.Seconds()))
	t.show("power_w", t.power)
	if t.p.Kind == drivers.Charger {
		t.show("current_a", t.power/t.phaseVolts())
	}
}
