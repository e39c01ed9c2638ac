package plan

import (
	"math"

	"nominald/dispatch"
	"nominald/drivers"
)

// allocate shares an aim over the meter's devices in merit order: charging that
// can wait, the battery inside its energy plan, then thermostats and relays
// for what is still missing; the battery takes what the coarse ones leave
// (domain.md 4.3). It returns what the devices are expected to give together
// and, where that is less than the aim, why. Where the aim is bounded by a cap
// or the export limit, nothing coarse may carry the site beyond it.
func (rd *round) allocate(d demand, a aim) (float64, Reason) {
	devices := rd.devicesOf(d.meter)
	batteryW, why := rd.batteryPower(devices, d.rec, d.rec.End)

	chargeW := a.steadyW
	if a.tracked && batteryW > 0 && !math.IsInf(a.w, 0) {
		chargeW = math.Max(0, a.w-chargerRoom*batteryW)
	}
	if rd.batteriesFirst(devices) {
		chargeW = math.Max(0, a.steadyW-batteryW)
	}
	cutW := rd.chargers(devices, chargeW, batteryW, d.rec, a.bounded)
	if !d.rec.Voluntary || batteryW == 0 {
		// For voluntary timeslots comfort is not spent where a battery serves
		// (domain.md 4.3: "stop after (b)").
		cutW += rd.comfort(devices, a, batteryW, rd.sustainedW(devices, d.rec, d.rec.End))
	} else {
		rd.keepYoung(devices)
	}
	nowW := rd.cuts(devices)
	if forgotten(d.meter.Point) || forgotten(rd.in.Site.Point) {
		nowW = math.Max(0, nowW) // what loads draw more says nothing of the site
	}
	restW := a.w - nowW
	if !a.tracked || d.state != dispatch.Active {
		restW = math.Max(0, restW)
	}
	for _, dev := range devices {
		rd.share(dev).tracked = a.tracked
	}
	batteriesW := rd.batteries(devices, d.rec, d.rec.End, restW, a.bounded)
	rd.fitProbes(devices, a.boundW-nowW)
	givenW := math.Max(cutW, nowW) + batteriesW
	if givenW == 0 && a.w > 0 {
		why = NoCapacity
	}
	return givenW, why
}

// batteriesFirst tells whether the owner finds every battery cheaper than every
// charger.
func (rd *round) batteriesFirst(devices []*Device) bool {
	battery, charger := math.Inf(-1), math.Inf(1)
	for _, d := range devices {
		switch d.Kind {
		case drivers.Battery:
			battery = math.Max(battery, d.Cost)
		case drivers.Charger:
			charger = math.Min(charger, d.Cost)
		}
	}
	return battery < charger && !math.IsInf(battery, 0)
}

// chargerRoom is the share of the batteries' power that charging leaves them to
// give, so that they can follow the site's load both ways between two changes
// of a charger's limit (domain.md 4.3).
const chargerRoom = 0.3

// devicesOf returns the meter's devices that can be commanded now.
func (rd *round) devicesOf(m *Meter) []*Device {
	var ds []*Device
	for _, d := range rd.of(m) {
		if !d.Kind.Dispatched() {
			continue
		}
		if !d.Fresh {
			rd.share(d).reason = DeviceStale
			continue
		}
		ds = append(ds, d)
	}
	return ds
}

// raise lets lower-ranked timeslots that overlap raise the target with energy
// that no higher-ranked one needs (domain.md 2.2, row "overlap").
func (rd *round) raise(d demand) float64 {
	want := d.wantW
	for _, lower := range d.raised {
		more := asked(lower, rd.in.Policy.Basis) - want
		if more <= 0 {
			continue
		}
		var spare float64
		for _, dev := range rd.devicesOf(d.meter) {
			if dev.Kind != drivers.Battery {
				continue
			}
			spare += rd.spareW(dev, lower, want)
		}
		want += math.Min(more, spare)
	}
	return want
}

// spareW is the power beyond want that a battery can give to the lower-ranked
// timeslot until its end, after the winner has all that it needs.
func (rd *round) spareW(dev *Device, lower *dispatch.Record, want float64) float64 {
	p := rd.affordable(dev, lower, lower.End).power
	limit := dev.MaxDischargeW.Or(0)
	energy := usableWh(dev, rd.reserve(dev, lower))
	if !energy.OK {
		return math.Max(0, math.Min(p, limit)-want)
	}
	lowerLeft := math.Max(lower.End.Sub(rd.in.Now).Hours(), 1.0/60)
	left := energy.V - rd.keptWh(dev, lower) // the winner's part among it
	return clamp(left/lowerLeft, 0, math.Max(0, limit-want))
}
