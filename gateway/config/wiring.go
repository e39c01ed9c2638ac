package config

import (
	"fmt"
	"strings"
	"time"

	"nominald/drivers"
)

// The profiles of devices on GPIO lines that the config knows by name.
const (
	RelayInhibit = "relay-inhibit" // the default with gpio
	RelayStage   = "relay-stage"
	SGReady      = "sg-ready" // the default with gpio2
)

// findProfiles reads all profiles that exist.
func (p *parser) findProfiles(b *block) {
	p.profiles = p.env.Profiles
	if p.env.Library == nil {
		return
	}
	library, err := p.env.Library(b.text("profiles"), b.has("profiles"))
	if err != nil {
		p.faults.add(Error{Line: b.lineOf("profiles"), Key: b.at("profiles"), Found: err.Error(), Remedy: "`nominald check --profile FILE` tests one"})
		p.unlisted = true
		return
	}
	p.cfg.library, p.profiles = library, briefly(library.List())
}

// keepProfiles drops the profiles that no device has: they are half a megabyte,
// for years.
func (p *parser) keepProfiles() {
	if p.cfg.library != nil {
		p.cfg.library = p.cfg.library.Only(names(p.cfg.Devices, func(d Device) string { return d.Profile }))
	}
}

// wiring fills in how the device is reached: by a bus, or by a GPIO line.
func (p *parser) wiring(b *block, d *Device) {
	switched := d.Kind == drivers.Thermostat || d.Kind == drivers.Relay
	switch {
	case d.Bus != "" && d.GPIO != "":
		p.faults.add(Error{Line: b.line, Key: b.path, Found: "has both bus and gpio", Remedy: "remove the one that it is not wired to"})
	case d.Bus == "" && d.GPIO == "" && switched:
		p.faults.add(Error{Line: b.line, Key: b.path, Found: "has neither bus nor gpio", Remedy: "add the bus or the GPIO line that it is wired to"})
	case d.Bus == "" && d.GPIO == "":
		p.faults.add(Error{Line: b.line, Key: b.at("bus"), Found: "is missing (name of the bus that it is on)", Remedy: "add bus"})
	case d.GPIO != "":
		if d.Profile == "" && d.GPIO2 != "" {
			d.Profile = SGReady
		} else if d.Profile == "" {
			d.Profile = RelayInhibit
		}
		d.ActiveLow = b.text("active") == "low"
		p.checkProfile(b, d)
	default:
		if d.Profile == "" {
			p.faults.add(Error{Line: b.line, Key: b.at("profile"), Found: "is missing (how to talk to the device)", Remedy: "`nominald profiles` lists them"})
		}
		d.Unit = int(b.num("unit"))
		if b.has("channel") {
			d.Channel = int(b.num("channel"))
		}
		p.checkProfile(b, d)
	}
}

// checkProfile follows the profile's name to a profile of the device's kind.
func (p *parser) checkProfile(b *block, d *Device) {
	if d.Profile == "" || p.unlisted {
		return
	}
	onGPIO := d.GPIO != ""
	fits := func(o Profile) bool { return o.GPIO == onGPIO && (onGPIO || o.Kind == d.Kind) }
	got, ok := find(p.profiles, func(o Profile) bool { return o.Name == d.Profile })
	if ok && fits(got) {
		p.fitProfile(b, d, got)
		return
	}
	var fitting []string
	for _, o := range p.profiles {
		if fits(o) {
			fitting = append(fitting, o.Name)
		}
	}
	e := Error{Line: b.lineOf("profile"), Key: b.at("profile"), Accepted: strings.Join(fitting, ", ")}
	switch {
	case !ok:
		e.Found = "there is no profile " + show(d.Profile)
		if near := Nearest(d.Profile, fitting); near != "" {
			e.Remedy = "did you mean " + near + "?"
		}
	case onGPIO:
		e.Found = show(d.Profile) + " is not for a GPIO line"
	case got.GPIO:
		e.Found = show(d.Profile) + " is for a GPIO line"
	default:
		e.Found = fmt.Sprintf("%s is for kind %s and the device is of kind %s", show(d.Profile), got.Kind, d.Kind)
	}
	p.faults.add(e)
}

// fitProfile checks the keys that a profile of the right kind leaves no room
// for.
func (p *parser) fitProfile(b *block, d *Device, got Profile) {
	d.ByInhibit = got.Inhibits || d.GPIO != "" || d.Kind == drivers.Relay
	if have := max(got.Channels, 1); d.Channel > have {
		p.faults.add(Error{Line: b.lineOf("channel"), Key: b.at("channel"), Found: fmt.Sprintf("%d is more than %s has", d.Channel, show(d.Profile)), Accepted: fmt.Sprintf("1 to %d", have)})
	}
	switch {
	case !d.ByInhibit || !b.has("max_offset_k"):
	case d.GPIO != "": // earlier versions took it, so a site must not stop on it
		p.cfg.Warnings = append(p.cfg.Warnings, fmt.Sprintf("%s: means nothing to a relay; max_off bounds the time off", b.at("max_offset_k")))
	default:
		p.faults.add(Error{Line: b.lineOf("max_offset_k"), Key: b.at("max_offset_k"), Found: fmt.Sprintf("%s holds the load off and shifts no set-point", show(d.Profile)), Remedy: "remove the line; max_off bounds the time off"})
	}
	two := d.GPIO2 != ""
	switch {
	case d.Profile == SGReady && !two:
		p.faults.add(Error{Line: b.lineOf("profile"), Key: b.at("gpio2"), Found: "is missing (the second contact of " + SGReady + ")", Accepted: "GPIO17, gpiochip0:17, pinctrl-rp1:17", Remedy: "with one contact only, for a heat pump's blocking input, use profile: " + RelayInhibit})
	case d.Profile != SGReady && two:
		p.faults.add(Error{Line: b.lineOf("gpio2"), Key: b.at("gpio2"), Found: fmt.Sprintf("means nothing with profile %s", show(d.Profile)), Remedy: "remove the line, or use profile: " + SGReady})
	}
}

// The times of SG-Ready (modbus.md 6): a heat pump is blocked for 2 h at most,
// and each state is held for 10 min or longer.
const (
	sgLongestBlock = 2 * time.Hour
	sgLeastHold    = 10 * time.Minute
)

// sgReady gives an SG-Ready heat pump the times of that interface.
func (p *parser) sgReady(b *block, d *Device) {
	if d.Profile != SGReady {
		return
	}
	if !b.has("min_off") {
		d.MinOff = min(sgLeastHold, d.MaxOff)
	}
	if !b.has("min_on") {
		d.MinOn = sgLeastHold
	}
	if d.MaxOff > sgLongestBlock {
		p.faults.add(Error{Line: b.lineOf("max_off"), Key: b.at("max_off"), Found: b.text("max_off") + " is longer than an SG-Ready heat pump may be blocked", Accepted: "at most " + FormatDuration(sgLongestBlock)})
	}
}
