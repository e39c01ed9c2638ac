package config

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"nominald/drivers"
)

// minToken is the least length of an access token. 16 characters of a random
// token are beyond guessing at the rate that the local server answers.
const minToken = 16

func (p *parser) http(b *block) {
	h := HTTP{Listen: b.text("listen"), Token: p.secret(b, "token"), Hosts: b.list("hosts")}
	host, _, err := net.SplitHostPort(h.Listen)
	if err == nil && !isLoopback(host) && !b.has("token") {
		p.faults.add(Error{Line: b.lineOf("listen"), Key: b.at("listen"), Found: h.Listen + " is open to the network and there is no http.token", Remedy: "add token: file:/etc/nominald/http.token, or listen on 127.0.0.1"})
	}
	if v := h.Token.Value(); v != "" && len(v) < minToken {
		p.faults.add(Error{Line: b.lineOf("token"), Key: b.at("token"), Found: fmt.Sprintf("the token has %d characters", len(v)), Accepted: fmt.Sprintf("at least %d", minToken), Remedy: "make one with: openssl rand -hex 24"})
	}
	p.cfg.HTTP = h
}

// once reports a value that another block has already.
func (p *parser) once(section, what string, id func(*block) (key, value string)) {
	first := map[string]*block{}
	for _, b := range p.doc.blocks[section] {
		key, value := id(b)
		if value == "" {
			continue
		}
		if o, ok := first[value]; ok {
			p.faults.add(Error{Line: b.lineOf(key), Key: b.at(key), Found: fmt.Sprintf("%s %s is taken by %s on line %d", what, show(b.text(key)), o.path, o.lineOf(key))})
			continue
		}
		first[value] = b
	}
}

// checkUnique refuses what can exist once only. A wire has one owner, so two
// buses can not share it, nor two devices a GPIO line.
func (p *parser) checkUnique() {
	by := func(key string) func(*block) (string, string) {
		return func(b *block) (string, string) { return key, b.text(key) }
	}
	p.once("buses", "the name", by("name"))
	p.once("buses", "the address", by("tcp"))
	p.once("buses", "the line", by("serial"))
	p.once("devices", "the name", by("name"))
	p.onceLine()
	p.once("devices", "the unit", func(b *block) (string, string) {
		if !b.has("bus") {
			return "unit", ""
		}
		// One unit can be a meter and a battery at once, as hybrid inverters are.
		return "unit", strings.Join([]string{b.text("bus"), b.text("unit"), b.text("kind"), b.text("profile"), b.text("channel")}, " ")
	})
	p.once("meters", "the meter", by("id"))
	p.once("inputs", "the name", by("name"))
}

// onceLine refuses a GPIO line that is named twice, whatever for.
func (p *parser) onceLine() {
	type use struct {
		block *block
		key   string
	}
	first := map[string]use{}
	for _, section := range []string{"devices", "inputs"} {
		for _, b := range p.doc.blocks[section] {
			for _, key := range []string{"gpio", "gpio2"} {
				line := b.text(key)
				o, taken := first[line]
				switch {
				case line == "":
				case taken:
					p.faults.add(Error{Line: b.lineOf(key), Key: b.at(key), Found: fmt.Sprintf("the line %s is taken by %s on line %d", show(line), o.block.path, o.block.lineOf(o.key))})
				default:
					first[line] = use{b, key}
				}
			}
		}
	}
}

// checkReferences follows every name to what it names.
func (p *parser) checkReferences() {
	for i, b := range p.doc.blocks["devices"] {
		d := p.cfg.Devices[i]
		if d.Bus == "" {
			continue
		}
		bus, ok := find(p.cfg.Buses, func(o Bus) bool { return o.Name == d.Bus })
		if !ok {
			p.unknown(b.lineOf("bus"), b.at("bus"), d.Bus, "bus", names(p.cfg.Buses, func(o Bus) string { return o.Name }))
		} else if (bus.Serial != "" || bus.RTU) && (d.Unit < 1 || d.Unit > 247) {
			p.faults.add(Error{Line: b.lineOf("unit"), Key: b.at("unit"), Found: fmt.Sprintf("%d is out of range on a serial line", d.Unit), Accepted: "1 to 247"})
		}
	}
	for i, b := range p.doc.blocks["meters"] {
		p.checkMeasuredBy(b, p.cfg.Meters[i])
		p.fitCapacity(b, p.cfg.Meters[i])
		for j, v := range b.get("devices").items {
			at := fmt.Sprintf("%s[%d]", b.at("devices"), j)
			d, ok := find(p.cfg.Devices, func(o Device) bool { return o.Name == v.text })
			switch {
			case !ok:
				p.unknown(v.line, at, v.text, "device", p.deviceNames())
			case d.Kind == drivers.Meter:
				p.faults.add(Error{Line: v.line, Key: at, Found: show(v.text) + " is of kind meter, which measures only", Remedy: "remove it from the list"})
			case !d.Kind.Dispatched():
				p.faults.add(Error{Line: v.line, Key: at, Found: fmt.Sprintf("%s is of kind %s, which is measured and never dispatched: to limit it would throw the sun's energy away", show(v.text), d.Kind), Remedy: "remove it from the list"})
			}
		}
	}
}

func (p *parser) checkMeasuredBy(b *block, m Meter) {
	line, at := b.lineOf("measured_by"), b.at("measured_by")
	d, ok := find(p.cfg.Devices, func(o Device) bool { return o.Name == m.MeasuredBy })
	switch {
	case !ok:
		p.unknown(line, at, m.MeasuredBy, "device", p.deviceNames())
	case d.Kind == drivers.Meter:
	case m.Type == UtilityMeter:
		p.faults.add(Error{Line: line, Key: at, Found: fmt.Sprintf("%s is of kind %s", show(d.Name), d.Kind), Accepted: "a device of kind meter, for a utility_meter", Remedy: "name the meter at the grid connection"})
	case !d.Kind.Dispatched():
		p.faults.add(Error{Line: line, Key: at, Found: fmt.Sprintf("%s is of kind %s, which is never dispatched", show(d.Name), d.Kind), Accepted: "a device of kind meter, or the one of this meter's devices that has the meter"})
	case !slices.Contains(m.Devices, d.Name):
		p.faults.add(Error{Line: line, Key: at, Found: show(d.Name) + " is not among this meter's devices", Remedy: "add it to devices, or name a device of kind meter"})
	}
}

// unknown reports a name that names nothing.
func (p *parser) unknown(line int, at, word, what string, known []string) {
	e := Error{Line: line, Key: at, Found: fmt.Sprintf("there is no %s %s", what, show(word)), Accepted: strings.Join(known, ", ")}
	if near := Nearest(word, known); near != "" {
		e.Remedy = "did you mean " + near + "?"
	}
	if len(known) == 0 {
		e.Remedy = "add it to " + map[string]string{"bus": "buses", "device": "devices"}[what]
	}
	p.faults.add(e)
}

func (p *parser) deviceNames() []string {
	return names(p.cfg.Devices, func(d Device) string { return d.Name })
}

func find[T any](list []T, is func(T) bool) (T, bool) {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i], true
	}
	var none T
	return none, false
}

func names[T any](list []T, name func(T) string) []string {
	var l []string
	for _, v := range list {
		l = append(l, name(v))
	}
	return l
}

// warn notes what is allowed and still seldom meant.
func (p *parser) warn() {
	add := func(format string, args ...any) {
		p.cfg.Warnings = append(p.cfg.Warnings, fmt.Sprintf(format, args...))
	}
	for i, d := range p.cfg.Devices {
		used := slices.ContainsFunc(p.cfg.Meters, func(m Meter) bool {
			return slices.Contains(m.Devices, d.Name) || m.Type == DeviceMeter && m.MeasuredBy == d.Name
		})
		switch p, _ := find(p.profiles, func(o Profile) bool { return o.Name == d.Profile }); {
		case d.Kind.Dispatched() && !used:
			add("devices[%d]: %s is in no meter's devices and is never dispatched", i, d.Name)
		case d.Kind.Dispatched() && p.NoFallback && !d.AllowNoFallback:
			add("devices[%d]: %s has no timer of its own to end a command, and is not commanded without allow_no_fallback: true", i, d.Name)
		case d.Kind.Dispatched() && p.Unrated && !d.MaxDischargeW.OK:
			add("devices[%d]: %s tells no rating of its own, and is not discharged without max_discharge_kw", i, d.Name)
		}
	}
	p.warnOfTwins(add)
	for i, m := range p.cfg.Meters {
		if len(m.Devices) == 0 && m.Type == UtilityMeter {
			add("meters[%d].devices: is empty, so nothing can be dispatched for this meter", i)
		}
		if m.Reference == ByBaseline && p.cfg.Store.Retain < baselineHistory {
			add("store.retain: %s is less than the %s that a baseline may look back", FormatDuration(p.cfg.Store.Retain), FormatDuration(baselineHistory))
		}
	}
	for i, b := range p.cfg.Buses {
		if !slices.ContainsFunc(p.cfg.Devices, func(d Device) bool { return d.Bus == b.Name }) {
			add("buses[%d]: no device is on %s", i, b.Name)
		}
	}
}

// warnOfTwins notes devices of unlike profiles behind one unit id of a serial
// line. That is right for a hybrid inverter with its meter, and wrong for two
// boxes that were both left at their maker's unit id.
func (p *parser) warnOfTwins(add func(string, ...any)) {
	for i, d := range p.cfg.Devices {
		bus, _ := find(p.cfg.Buses, func(b Bus) bool { return b.Name == d.Bus })
		first := slices.IndexFunc(p.cfg.Devices, func(o Device) bool {
			return d.Bus != "" && o.Bus == d.Bus && o.Unit == d.Unit && o.Profile != d.Profile
		})
		if (bus.Serial != "" || bus.RTU) && first >= 0 && first < i {
			add("devices[%d]: %s (%s) has unit %d of %s, as %s (%s) has; two boxes on one line need unit ids of their own",
				i, d.Name, d.Profile, d.Unit, d.Bus, p.cfg.Devices[first].Name, p.cfg.Devices[first].Profile)
		}
	}
}
