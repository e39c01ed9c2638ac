package config

import (
	"time"

	yaml "go.yaml.in/yaml/v3"

	"nominald/drivers"
)

// get returns a value of the file or the default of the table.
func (b *block) get(name string) value {
	if v, ok := b.values[name]; ok {
		return v
	}
	v := value{line: b.line}
	if k, ok := b.section.key(name); ok && k.def != "" {
		v.read(k, &yaml.Node{Kind: yaml.ScalarNode, Value: k.def})
	}
	return v
}

// opt returns a quantity in the unit of the program, unknown where neither the
// file nor the table gives one.
func (b *block) opt(name string, scale float64) drivers.Opt {
	k, _ := b.section.key(name)
	if !b.has(name) && k.def == "" {
		return drivers.Opt{}
	}
	return drivers.Some(b.get(name).num * scale)
}

func (b *block) text(name string) string            { return b.get(name).text }
func (b *block) num(name string) float64            { return b.get(name).num }
func (b *block) watts(name string) float64          { return b.get(name).num * 1000 }
func (b *block) flag(name string) bool              { return b.get(name).flag }
func (b *block) duration(name string) time.Duration { return seconds(b.get(name).num) }

func (b *block) list(name string) []string {
	var l []string
	for _, v := range b.get(name).items {
		l = append(l, v.text)
	}
	return l
}

func (b *block) numbers(name string) []float64 {
	var l []float64
	for _, v := range b.get(name).items {
		l = append(l, v.num)
	}
	return l
}

// build fills p.cfg from p.doc and checks what belongs together.
func (p *parser) build() {
	one := func(section string) *block { return p.doc.blocks[section][0] }
	p.notePlaces()
	p.site(one("site"))
	p.leap(one("leap"))
	for _, b := range p.doc.blocks["buses"] {
		p.bus(b)
	}
	for _, b := range p.doc.blocks["devices"] {
		p.device(b)
	}
	for _, b := range p.doc.blocks["meters"] {
		p.meter(b)
	}
	for _, b := range p.doc.blocks["inputs"] {
		p.input(b)
	}
	p.policy(one("policy"))
	p.http(one("http"))
	p.store(one("store"))
	p.checkUnique()
	if len(p.faults.list) > 0 {
		return // a name given twice leaves another one unknown: no news
	}
	p.checkReferences()
	p.warn()
	p.keepProfiles()
}

// notePlaces keeps where each key stands, for Config.Fault.
func (p *parser) notePlaces() {
	p.cfg.places = map[string]place{}
	for _, blocks := range p.doc.blocks {
		for _, b := range blocks {
			element := ""
			if b.section.list {
				element = b.text(b.section.keys[0].name) // the name, or a meter's id
			}
			for _, k := range b.section.keys {
				p.cfg.places[placeKey(b.section.name, element, k.name)] = place{b.at(k.name), b.lineOf(k.name)}
			}
		}
	}
}

func (p *parser) site(b *block) {
	p.cfg.Site = Site{
		Name:       b.text("name"),
		Timezone:   p.zone(b),
		Armed:      b.flag("armed"),
		MaxImportW: b.watts("max_import_kw"),
		MaxExportW: b.watts("max_export_kw"),
		Profiles:   b.text("profiles"),
	}
	p.findProfiles(b)
}

// zone finds the site's time zone. A slim system may have no zones at all,
// which is told apart from a name that does not exist.
func (p *parser) zone(b *block) *time.Location {
	name := b.text("timezone")
	if name == "UTC" {
		return time.UTC
	}
	e := Error{Line: b.lineOf("timezone"), Key: b.at("timezone"), Found: show(name) + " is not a known time zone", Accepted: "an IANA time zone, as America/Los_Angeles"}
	if name != "Local" { // a site's days must not follow the machine's setting
		loc, err := p.env.LoadLocation(name)
		if err == nil {
			return loc
		}
		if _, err := p.env.LoadLocation("America/Los_Angeles"); err != nil {
			e.Found, e.Accepted = "this machine has no time zones", ""
			e.Remedy = "install the package tzdata"
		}
	}
	p.faults.add(e)
	return time.UTC
}

func (p *parser) leap(b *block) {
	p.cfg.Leap = Leap{URL: b.text("url"), APIKey: p.secret(b, "api_key"), Poll: b.duration("poll")}
}

func (p *parser) bus(b *block) {
	bus := Bus{Name: b.text("name"), TCP: b.text("tcp"), Serial: b.text("serial")}
	switch {
	case bus.TCP != "" && bus.Serial != "":
		p.faults.add(Error{Line: b.line, Key: b.path, Found: "has both tcp and serial", Remedy: "make it two buses"})
	case bus.TCP == "" && bus.Serial == "":
		p.faults.add(Error{Line: b.line, Key: b.path, Found: "has neither tcp nor serial", Remedy: "add tcp: HOST:PORT or serial: /dev/..."})
	}
	bus.RTU = bus.TCP != "" && b.text("framing") == "rtu"
	if bus.Serial != "" {
		bus.Baud, bus.Format, bus.Echo = int(b.num("baud")), b.text("format"), b.flag("echo")
	}
	p.cfg.Buses = append(p.cfg.Buses, bus)
}

func (p *parser) device(b *block) {
	d := Device{
		Name:            b.text("name"),
		Kind:            drivers.Kind(b.text("kind")),
		Profile:         b.text("profile"),
		Bus:             b.text("bus"),
		GPIO:            b.text("gpio"),
		GPIO2:           b.text("gpio2"),
		Invert:          b.flag("invert"),
		AllowNoFallback: b.flag("allow_no_fallback"),
	}
	d.Cost = b.opt("cost", 1)
	p.wiring(b, &d)
	switch d.Kind {
	case drivers.Battery:
		d.ReserveSoC = b.num("reserve_soc")
		d.MaxDischargeW = b.opt("max_discharge_kw", 1000)
		d.MaxChargeW = b.opt("max_charge_kw", 1000)
		d.CapacityWh = b.opt("capacity_kwh", 1000)
	case drivers.Charger:
		d.Phases, d.VoltageV = int(b.num("phases")), b.num("voltage")
		d.MinA, d.MaxA = b.num("min_current_a"), b.num("max_current_a")
		d.Departure, d.DepartureWh = clockOf(b.text("departure")), b.opt("departure_kwh", 1000)
		p.atLeast(b, "max_current_a", "min_current_a")
	case drivers.Thermostat:
		d.MaxOffsetK = b.num("max_offset_k")
		fallthrough
	case drivers.Relay:
		d.RatedW = b.watts("rated_kw")
		d.MinOff, d.MinOn, d.MaxOff = b.duration("min_off"), b.duration("min_on"), b.duration("max_off")
		p.atLeast(b, "max_off", "min_off")
		p.sgReady(b, &d)
	}
	p.cfg.Devices = append(p.cfg.Devices, d)
}

// clockOf reads a time of day that was checked; none is 0.
func clockOf(text string) time.Duration {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

// atLeast checks that one number is not below another.
func (p *parser) atLeast(b *block, big, small string) {
	if b.num(big) >= b.num(small) {
		return
	}
	p.faults.add(Error{Line: b.lineOf(big), Key: b.at(big), Found: b.text(big) + " is less than " + small + ", which is " + b.text(small)})
}

func (p *parser) input(b *block) {
	p.cfg.Inputs = append(p.cfg.Inputs, Input{Name: b.text("name"), Role: b.text("role"), GPIO: b.text("gpio"),
		Active: b.text("active"), Pull: b.text("pull"), Debounce: b.duration("debounce")})
}

func (p *parser) policy(b *block) {
	p.cfg.Policy = Policy{
		Basis:             b.text("basis"),
		Voluntary:         b.text("voluntary"),
		VoluntaryAboveSoC: b.num("voluntary"),
		CommunicationTest: b.text("communication_test"),
		OnMissing:         b.text("on_missing"),
		Release:           b.duration("release"),
		ReleaseLoads:      b.duration("release_loads"),
		ReleaseRandom:     b.duration("release_random"),
		ChargeToTarget:    b.flag("charge_to_target"),
		Precharge:         b.duration("precharge"),
		Precool:           b.duration("precool"),
		PrepareInWindow:   b.flag("prepare_in_window"),
	}
}

func (p *parser) store(b *block) {
	p.cfg.Store = Store{Dir: b.text("dir"), Retain: b.duration("retain"), RetainFine: b.duration("retain_seconds")}
}
