package commission

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// text is the value with its unit, with no more digits than were measured.
func (v Value) text() string {
	digits := 0
	switch magnitude := math.Abs(v.V); {
	case v.V == math.Trunc(v.V) || magnitude >= 100:
	case magnitude >= 10:
		digits = 1
	default:
		digits = 2
	}
	return strings.TrimSpace(strconv.FormatFloat(v.V, 'f', digits, 64) + " " + v.Unit)
}

// Markdown is the sheet for people.
func (s *Sheet) Markdown() string {
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		zone = time.UTC
	}
	at := func(t time.Time) string { return t.In(zone).Format("2006-01-02 15:04:05 -07:00") }
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Commissioning: %s\n", cell(s.Site))
	p("**%s**: tests: %s.\n", s.Result, s.Tests)
	if len(s.LeftOut) > 0 {
		p("Not tested, because other devices were asked for: %s.\n", cell(strings.Join(s.LeftOut, ", ")))
	}
	for _, t := range s.Todo {
		p("- To do: %s", cell(t))
	}
	if len(s.Todo) > 0 {
		p("")
	}
	p("| | |\n|---|---|")
	for _, row := range [][2]string{{"from", at(s.Began)}, {"to", at(s.Ended)}, {"gateway", "nominald " + s.Gateway + " on " + s.Machine},
		{"config", s.Config}, {"armed", fmt.Sprint(s.Armed)}, {"limits", s.limits()}, {"meter at the grid connection", s.SiteMeter},
		{"timeslots", s.Schedule}, {"ended early", s.Interrupted}} {
		if row[1] != "" {
			p("| %s | %s |", row[0], cell(row[1]))
		}
	}
	p("\n## Devices\n\n| device | kind | profile | reached by | maker, model | serial number | firmware | fallback timer |\n|---|---|---|---|---|---|---|---|")
	for _, d := range s.Devices {
		p("| %s | %s | %s | %s | %s | %s | %s | %s |", cell(d.Name), d.Kind, cell(d.Profile), cell(d.Where),
			cell(strings.TrimSpace(d.About.Manufacturer+" "+d.About.Model)), cell(d.About.Serial), cell(d.About.Version), d.timer())
	}
	for _, d := range s.Devices {
		d.markdown(p)
	}
	s.foot(p)
	return b.String()
}

func (s *Sheet) summary() string {
	switch {
	case s.Incomplete():
		return "Incomplete: not proved: " + cell(s.Lacking())
	case !s.Good():
		return "Not passed"
	}
	return "Passed"
}

func (s *Sheet) limits() string {
	limit := "import not given"
	if s.MaxImportW > 0 {
		limit = fmt.Sprintf("import %.1f kW", s.MaxImportW/1000)
	}
	return limit + fmt.Sprintf(", export %.1f kW", s.MaxExportW/1000)
}

func (d *DeviceSheet) timer() string {
	switch {
	case d.Kind == "meter" || d.Kind == "inverter":
		return ""
	case !d.About.Fallback:
		return "none"
	case d.About.FallbackAfter > 0:
		return d.About.FallbackAfter.String()
	}
	return "its own"
}

func (d *DeviceSheet) markdown(p func(string, ...any)) {
	p("\n## %s\n", cell(d.Name))
	if d.About.Detail != "" {
		p("%s.\n", cell(d.About.Detail))
	}
	var first []string
	for _, v := range d.values() {
		first = append(first, v.Name+" "+v.text())
	}
	if len(first) > 0 {
		p("At the beginning: %s.\n", strings.Join(first, ", "))
	}
	for _, t := range d.Tests {
		why := ""
		if t.Why != "" {
			why = ": " + cell(t.Why)
		}
		p("**%s: %s**%s\n", t.Name, t.Verdict, why)
		if len(t.Values) == 0 {
			continue
		}
		p("| measured | |\n|---|---|")
		for _, v := range t.Values {
			p("| %s | %s |", v.Name, v.text())
		}
		p("")
	}
}

// values are the first reading's.
func (d *DeviceSheet) values() []Value {
	var out []Value
	add := func(name string, v float64, ok bool, unit string) {
		if ok {
			out = append(out, Value{name, v, unit})
		}
	}
	r := d.Reading
	add("power", r.PowerW.V, r.PowerW.OK, "W")
	add("state of charge", r.SoC.V, r.SoC.OK, "%")
	add("capacity", r.CapacityWh.V, r.CapacityWh.OK, "Wh")
	add("most discharge", r.MaxDischargeW.V, r.MaxDischargeW.OK, "W")
	add("most charge", r.MaxChargeW.V, r.MaxChargeW.OK, "W")
	add("current", r.CurrentA.V, r.CurrentA.OK, "A")
	add("room", r.TemperatureC.V, r.TemperatureC.OK, "C")
	add("set-point", r.SetpointC.V, r.SetpointC.OK, "C")
	add("imported", r.ImportWh.V, r.ImportWh.OK, "Wh")
	add("exported", r.ExportWh.V, r.ExportWh.OK, "Wh")
	return out
}

func (s *Sheet) foot(p func(string, ...any)) {
	p("\n## At the end\n")
	if len(s.Restored) == 0 {
		p("No device was commanded.")
	}
	for _, r := range s.Restored {
		state := strings.TrimSpace("released " + cell(r.Note))
		if r.Problem != "" {
			state = "**NOT RELEASED**: " + cell(r.Problem)
		}
		p("- %s: %s", cell(r.Name), state)
	}
	for _, w := range s.Warnings {
		p("- Warning: %s", cell(w))
	}
	p("\n## Signatures\n\n| | name | date | signature |\n|---|---|---|---|\n| installer | | | |\n| owner | | | |")
}

// cell takes out what would break a table: devices write some of the text.
func cell(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '|':
			return '/'
		case r < ' ' || (r >= 0x7f && r < 0xa0):
			return ' '
		}
		return r
	}, s))
}
