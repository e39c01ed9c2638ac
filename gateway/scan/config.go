package scan

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"nominald/drivers"
)

// Config is what was found as buses and devices of a config, to paste. It is
// accepted as it is; a comment stands where the installer has to choose.
func (r *Result) Config() string {
	w := &writer{names: map[string]int{}, buses: map[string]string{}}
	for _, f := range r.Found {
		w.found(f)
	}
	if len(w.busLines) == 0 {
		return ""
	}
	out := "buses:\n" + strings.Join(w.busLines, "")
	if len(w.deviceLines) > 0 {
		out += "devices:\n" + strings.Join(w.deviceLines, "")
	}
	return out
}

// writer collects the lines of a config.
type writer struct {
	names       map[string]int    // how often each was given
	buses       map[string]string // name by the place without its unit
	lines       []string          // serial lines that are in buses
	busLines    []string
	deviceLines []string
}

// name gives a name that is not taken: meter, meter-2.
func (w *writer) name(word string) string {
	w.names[word]++
	if n := w.names[word]; n > 1 {
		return fmt.Sprintf("%s-%d", word, n)
	}
	return word
}

// bus returns the name of a place's bus, and whether it is in the config: a
// line has one speed, so a second one can only be told.
func (w *writer) bus(p Place) (name string, ok bool) {
	key := p
	key.Unit = 0
	if name, ok := w.buses[fmt.Sprint(key)]; ok {
		return name, true
	}
	if p.Serial != "" {
		if slices.Contains(w.lines, p.Serial) {
			return "", false
		}
		w.lines = append(w.lines, p.Serial)
		name = w.name("rs485")
		w.busLines = append(w.busLines, fmt.Sprintf("  - {name: %s, serial: %s, baud: %d, format: %s}\n", name, quoted(p.Serial), p.Baud, p.Format))
	} else {
		name = w.name("lan")
		framing := ""
		if p.RTU {
			framing = ", framing: rtu"
		}
		w.busLines = append(w.busLines, fmt.Sprintf("  - {name: %s, tcp: %s%s}\n", name, quoted(p.TCP), framing))
	}
	w.buses[fmt.Sprint(key)] = name
	return name, true
}

// found writes one device.
func (w *writer) found(f Found) {
	line := func(format string, args ...any) {
		w.deviceLines = append(w.deviceLines, fmt.Sprintf(format, args...)+"\n")
	}
	about := strings.Join(strings.Fields(strings.Join([]string{f.Manufacturer, f.Model, f.SerialNumber}, " ")), " ")
	bus, ok := w.bus(f.Place)
	switch {
	case !ok:
		line("  # %s: %s. The devices of one line must speak at one speed: set them alike.", comment(f.where()), comment(about))
		return
	case f.Profile == "":
		line("  # %s: %s, not known. `nominald profiles` lists what is; it may be set up otherwise than its profile says.", comment(f.where()), f.Answer)
		return
	}
	line("  # %s", comment(strings.Join(nonEmpty(about, f.Live()), "; ")))
	if others := comment(strings.Join(f.Profiles[min(1, len(f.Profiles)):], ", ")); others != "" && len(f.SunSpec) > 0 {
		line("  # The same unit is also %s: a device of its own, with the same bus and unit, if you want that read.", others)
	} else if others != "" {
		line("  # Other profiles that fit: %s. Choose by the name plate.", others)
	}
	line("  - name: %s", w.name(string(f.Kind)))
	line("    kind: %s", f.Kind)
	line("    profile: %s", f.Profile)
	line("    bus: %s", bus)
	line("    unit: %d", f.Unit)
	if f.Channels > 1 {
		line("    channel: 1  # choose: 1 to %d", f.Channels)
	}
	for _, l := range choices(f.Kind) {
		line("    %s", l)
	}
	if !f.Fallback && f.Kind != drivers.Meter && f.Kind != drivers.Inverter {
		line("    # allow_no_fallback: true  # the owner's consent: it does not end a command by itself, were the gateway to die")
	}
}

// choices are the keys of a kind that only the installer knows. What the config
// requires has a value that is safe; the rest is a comment.
func choices(kind drivers.Kind) []string {
	switch kind {
	case drivers.Meter:
		return []string{"# invert: true  # if import shows negative; `nominald commission` proves the sign"}
	case drivers.Battery:
		return []string{"reserve_soc: 20  # choose: percent that stays the owner's", "# max_discharge_kw: 5  # else the device's own rating counts", "# max_charge_kw: 5"}
	case drivers.Charger:
		return []string{"phases: 3  # choose: phases it is wired to, 1 to 3", "voltage: 230  # of one phase", "max_current_a: 6  # choose: what the circuit is fused for, A a phase"}
	case drivers.Thermostat, drivers.Relay:
		return []string{"rated_kw: 1  # choose: what the load draws when it runs", "# min_off: 5m  # least time off", "# max_off: 30m  # most time off in a row"}
	}
	return nil
}

func nonEmpty(parts ...string) []string {
	return slices.DeleteFunc(parts, func(s string) bool { return s == "" })
}

// comment makes a text that a device may have written fit for one line.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// quoted writes a path or an address as YAML takes it anywhere.
func quoted(s string) string {
	if strings.ContainsAny(s, " ,{}[]#:&*!|>'\"%@`\\") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return s
}

// Nothing says what to look at when nothing was found; empty where nothing could
// be asked, which has a cause of its own among the problems.
func (r *Result) Nothing(o Options) string {
	opened := slices.DeleteFunc(slices.Clone(o.Serial), func(path string) bool { return slices.Contains(r.Blocked, path) })
	if r.Interrupted || len(opened)+len(o.TCP) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("Nothing was found. Check, in this order:\n")
	if len(opened) > 0 {
		b.WriteString(`  - are the devices powered, and is Modbus enabled on them?
  - A and B: makers name them differently; swap the two wires and scan again, that harms nothing
  - is it the right adapter? ls -l /dev/serial/by-id
  - one 120 ohm terminator at each end of the line, not in the middle; a common ground wire
  - two devices with the same unit id disturb each other: connect them one by one
`)
		if !o.Full {
			b.WriteString("  - another speed, format or unit id: --full tries all\n")
		}
		b.WriteString("  - slow devices: --timeout 1s\n")
	}
	if len(o.TCP) > 0 {
		b.WriteString(`  - does the address answer a ping, and is Modbus TCP enabled on the device (often only by its installer)?
  - another port: 502, 1502, 8899, 4196 are in use
  - many devices take one client: stop whatever else talks to it
`)
		if !o.RTU {
			b.WriteString("  - a serial device server in transparent mode: --rtu\n")
		}
	}
	return b.String()
}
