package profile

import (
	"maps"
	"slices"
)

// meanings are the words for what a point fills in a reading.
func meanings() []string {
	return []string{"power_w", "current_a", "soc", "capacity_wh", "max_discharge_w", "max_charge_w", "state", "connected",
		"temperature_c", "setpoint_c", "import_wh", "export_wh", "failsafe_a", "timer_s", "on", "inhibited", "link"}
}

// adds tells whether several points may have the meaning: powers and energies
// add up, of currents the largest counts, links are notes.
func adds(meaning string) bool {
	return slices.Contains([]string{"", "power_w", "import_wh", "export_wh", "current_a", "link"}, meaning)
}

// channels is how many channels a unit has, at least one.
func (p *Profile) channels() int { return max(p.Channels, 1) }

// sorted returns the keys in order, so that of several mistakes always the same
// one is reported.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// width is how many registers the check reads.
func (c Check) width() int {
	if c.Type == typeText {
		return c.Length
	}
	return width(c.Type)
}

// register returns the writable register with the name.
func (p *Profile) register(name string) (Register, bool) {
	for _, r := range p.Writable {
		if r.Name == name {
			return r, true
		}
	}
	return Register{}, false
}

// point returns the point with the name.
func (p *Profile) point(name string) (Point, bool) {
	for _, pt := range p.Points {
		if pt.Name == name {
			return pt, true
		}
	}
	return Point{}, false
}

// steps returns the sequence with the key.
func (c Command) steps(key string) []Step {
	return map[string][]Step{"apply": c.Apply, "charge": c.Charge, "discharge": c.Discharge, "hold": c.Hold,
		"pause": c.Pause, "inhibit": c.Inhibit, "release": c.Release}[key]
}
