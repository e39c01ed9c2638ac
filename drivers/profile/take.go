package profile

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"nominald/drivers"
)

// take puts one point into the reading.
func (d *device) take(pt Point, regs []uint16) {
	v, raw, ok := pt.value(regs)
	if ok {
		d.shown[pt.Name] = drivers.Some(v)
	}
	word, named := pt.Words[raw]
	yes := raw != 0
	if len(pt.Words) > 0 {
		yes = named
	}
	r := &d.reading
	switch {
	case pt.Meaning == "link" && named:
		d.notes = append(d.notes, word)
	case pt.Meaning == "link":
		return
	case adds(pt.Meaning):
		d.add(pt.Meaning, v, ok)
		return
	case !ok:
		return
	case pt.Meaning == "state" && named:
		r.State = word
	case pt.Meaning == "state":
		r.State = "state " + strconv.FormatUint(raw, 10)
	case pt.Meaning == "connected":
		r.Connected = yes
	case pt.Meaning == "inhibited":
		r.Inhibited = yes
	case pt.Meaning == "on":
		v = 0
		if yes {
			v = 1
		}
	default:
		if field := optional(r, pt.Meaning); field != nil {
			*field = drivers.Some(v)
		}
	}
	d.last[pt.Meaning], d.raw[pt.Meaning] = v, raw
}

// add sums powers and energies, and takes the largest of currents. A sum of
// which a part is unknown is unknown.
func (d *device) add(meaning string, v float64, ok bool) {
	field := optional(&d.reading, meaning)
	if field == nil {
		return
	}
	sum, seen := d.last[meaning]
	switch {
	case meaning == "current_a" && !ok:
		return
	case meaning == "current_a" && seen:
		v = math.Max(v, sum)
	case !ok:
		v = math.NaN()
	default:
		v += sum
	}
	d.last[meaning] = v
	*field = drivers.Some(v)
}

// optional is the field of a reading that a meaning fills, nil where it fills
// none of this type.
func optional(r *drivers.Reading, meaning string) *drivers.Opt {
	switch meaning {
	case "power_w":
		return &r.PowerW
	case "current_a":
		return &r.CurrentA
	case "soc":
		return &r.SoC
	case "capacity_wh":
		return &r.CapacityWh
	case "max_discharge_w":
		return &r.MaxDischargeW
	case "max_charge_w":
		return &r.MaxChargeW
	case "temperature_c":
		return &r.TemperatureC
	case "setpoint_c":
		return &r.SetpointC
	case "import_wh":
		return &r.ImportWh
	case "export_wh":
		return &r.ExportWh
	}
	return nil
}

// state joins the device's word with what is wrong.
func (d *device) state() string {
	words := slices.DeleteFunc(append([]string{d.reading.State}, d.notes...), func(s string) bool { return s == "" })
	return strings.Join(words, "; ")
}
