package config

import (
	"strings"

	"nominald/dispatch/baseline"
)

func (p *parser) meter(b *block) {
	m := Meter{
		ID:         b.text("id"),
		Type:       MeterType(b.text("type")),
		MeasuredBy: b.text("measured_by"),
		Reference:  Reference(b.text("reference")),
		Baseline:   b.text("baseline"),
		Devices:    b.list("devices"),
		Upload:     b.flag("upload"),
		PerKWh:     b.numbers("baseline_kw_per_kwh"),
	}
	if m.Reference == "" {
		m.Reference = ByBaseline
		if m.Type == DeviceMeter {
			m.Reference = ByDevice
		}
	}
	if m.Reference == ByBaseline && m.Baseline == "" {
		k, _ := b.section.key("baseline")
		p.faults.add(Error{Line: b.line, Key: b.at("baseline"), Found: "is missing, since the reference is baseline", Accepted: k.accepted(), Remedy: "your program's rules name it; without one set reference: relative"})
	}
	p.fitBaseline(b, m)
	p.cfg.Meters = append(p.cfg.Meters, m)
}

// fitBaseline checks a preset against the type of the meter, and what is given
// beside it.
func (p *parser) fitBaseline(b *block, m Meter) {
	preset, ok := baseline.Preset(m.Baseline)
	if ok && preset.OfDevice() && m.Type == UtilityMeter && m.Reference == ByBaseline {
		p.faults.add(Error{Line: b.lineOf("baseline"), Key: b.at("baseline"), Found: show(m.Baseline) + " is for programs that settle a device at itself, and this is a utility_meter",
			Remedy: "set type: device, or the preset that your program's rules name"})
	}
	if ok && m.PerKWh != nil && (preset.PerKWh == nil || m.Reference != ByBaseline) {
		p.faults.add(Error{Line: b.lineOf("baseline_kw_per_kwh"), Key: b.at("baseline_kw_per_kwh"), Found: "means nothing to " + show(m.Baseline) + " with reference " + string(m.Reference),
			Remedy: "remove the line, or set reference: baseline and baseline: " + baseline.DSGSOption3})
	}
}

// fitCapacity checks that what is laid down for each kWh of a battery finds
// how many it has.
func (p *parser) fitCapacity(b *block, m Meter) {
	if m.PerKWh == nil || p.cfg.capacityWh(m) > 0 {
		return
	}
	p.faults.add(Error{Line: b.lineOf("baseline_kw_per_kwh"), Key: b.at("baseline_kw_per_kwh"),
		Found: "is for each kWh, and no battery among " + strings.Join(m.Served(), ", ") + " has capacity_kwh", Remedy: "give that battery its capacity_kwh, as the program counts it"})
}

// Served are the devices that are settled with a device meter: the one that
// measures, or all behind a meter of its own.
func (m Meter) Served() []string {
	for _, name := range m.Devices {
		if name == m.MeasuredBy {
			return []string{name}
		}
	}
	return m.Devices
}

func (c *Config) capacityWh(m Meter) float64 {
	var sum float64
	for _, name := range m.Served() {
		if d, ok := find(c.Devices, func(d Device) bool { return d.Name == name }); ok {
			sum += d.CapacityWh.Or(0)
		}
	}
	return sum
}

// Method is the baseline method of a meter, with what the file gives for it;
// false where its reference is another.
func (c *Config) Method(m Meter) (baseline.Params, bool) {
	p, ok := baseline.Preset(m.Baseline)
	if !ok || m.Reference != ByBaseline {
		return baseline.Params{}, false
	}
	if m.PerKWh != nil {
		p.PerKWh, p.CapacityWh = m.PerKWh, c.capacityWh(m)
	}
	return p, true
}
