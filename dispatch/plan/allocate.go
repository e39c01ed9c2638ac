package plan

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// allocate shares aimW over the meter's devices in merit order: charging that
// can wait, the battery inside its energy plan, then thermostats and relays
// for what is still missing; the battery takes what the coarse ones leave
// (domain.md 4.3). It returns what the devices are expected to give together
// and, where that is less than aimW, why. Where aimW is bounded by a cap or the
// export limit, nothing coarse may carry the site beyond it.
func (rd *round) allocate(d demand, aimW float64, bounded bool) (float64, Reason) {
	devices := rd.devicesOf(d.meter)
	batteryW, why := rd.batteryPower(devices, d.rec, d.rec.End)

	cutW := rd.chargers(devices, aimW, batteryW, !d.rec.Voluntary, bounded)
	missing := aimW - cutW - batteryW
	if !d.rec.Voluntary || batteryW == 0 {
		// For voluntary timeslots comfort is not spent where a battery serves
		// (domain.md 4.3: "stop after (b)").
		cutW += rd.comfort(devices, missing, bounded)
	}
	nowW := rd.cuts(devices)
	givenW := math.Max(cutW, nowW) + rd.batteries(devices, d.rec, d.rec.End, math.Max(0, aimW-nowW), bounded)
	if givenW == 0 && aimW > 0 {
		why = NoCapacity
	}
	return givenW, why
}

// devicesOf returns the meter's devices that can be commanded now.
func (rd *round) devicesOf(m *Meter) []*Device {
	var ds []*Device
	for _, name := range m.Devices {
		d := rd.in.device(name)
		if d == nil || !d.Kind.Dispatched() {
			continue
		}
		if !d.Fresh {
			rd.shares[name].reason = DeviceStale
			continue
		}
		ds = append(ds, d)
	}
	return ds
}

// reachable is the power that a battery can be counted on for: what it can
// afford, and no more than it gives where it does not follow its command.
func (rd *round) reachable(d *Device, r *dispatch.Record, end time.Time) (float64, Reason) {
	p, why := rd.affordable(d, r, end)
	switch {
	case d.Refused:
		return math.Min(p, math.Max(0, d.PowerW.Or(0))), CommandRefused
	case d.Unresponsive:
		return math.Min(p, math.Max(0, d.PowerW.Or(0))), NoResponse
	}
	return p, why
}

// batteryPower is what the batteries can hold until end, and what limits them.
func (rd *round) batteryPower(devices []*Device, r *dispatch.Record, end time.Time) (float64, Reason) {
	var sum float64
	why := ShortOfPower
	for _, dev := range devices {
		if dev.Kind != drivers.Battery {
			continue
		}
		p, reason := rd.reachable(dev, r, end)
		switch reason {
		case PowerLimit:
		case NoResponse, CommandRefused:
			why = reason
		default:
			why = ShortOfEnergy
		}
		sum += p
	}
	return sum, why
}

// batteries shares restW over the batteries and returns what they give. What
// an earlier demand asked of one counts for this one too; the others take the
// rest in proportion to what each has left.
func (rd *round) batteries(devices []*Device, r *dispatch.Record, end time.Time, restW float64, bounded bool) float64 {
	var fixed, spare float64
	for _, dev := range devices {
		if dev.Kind == drivers.Battery {
			p, _ := rd.reachable(dev, r, end)
			fixed += rd.shares[dev.Name].giveW
			spare += math.Max(0, p-rd.shares[dev.Name].giveW)
		}
	}
	more := clamp(restW-fixed, 0, spare)
	var given float64
	for _, dev := range devices {
		if dev.Kind != drivers.Battery {
			continue
		}
		s := rd.shares[dev.Name]
		p, why := rd.reachable(dev, r, end)
		if left := math.Max(0, p-s.giveW); left > 0 && spare > 0 {
			s.giveW += more * left / spare
		}
		switch {
		case dev.Unresponsive, dev.Refused, p == 0, s.giveW >= p && restW-fixed > more:
			s.reason = why
		case s.giveW == 0:
			s.reason = NotNeeded
		default:
			s.reason = Following
		}
		s.used, s.bounded = true, s.bounded || bounded
		afford, _ := rd.affordable(dev, r, end)
		s.barred, s.probeW = s.giveW == 0 && afford == 0, 0
		if (dev.Unresponsive || dev.Refused) && !s.barred {
			s.probeW = math.Min(math.Min(afford, restW), probeW)
		}
		given += s.giveW
	}
	return given
}

// probeW is what a battery that does not follow is still told to give: enough
// to see that it follows again, little enough to do no harm when it does.
const probeW = 500

// A vehicle follows a new limit after some seconds (domain.md 4.6: 5 s of delay
// and 4 s of lag). The battery, which itself takes deadTime to move, makes
// room for it by this model, not by what was measured late.
const (
	vehicleDelay  = 5 * time.Second
	vehicleLag    = 4 * time.Second
	followsWithin = 15 * time.Second // then what it draws counts, nothing else
)

// followed is how much of a new limit a vehicle has followed by the time that a
// battery told now will have moved, 0 to 1.
func followed(since time.Duration) float64 {
	moving := since + deadTime - vehicleDelay
	if moving <= 0 {
		return 0
	}
	return 1 - math.Exp(-moving.Seconds()/vehicleLag.Seconds())
}

// cuts is how much less than normal the loads draw: as measured, but for a
// charger that was told to just now, as it is expected to. Loads without a
// measurement count nothing: what is not known is not claimed.
func (rd *round) cuts(devices []*Device) float64 {
	var sum float64
	for _, d := range devices {
		s := rd.shares[d.Name]
		switch {
		case d.Kind == drivers.Battery:
		case d.Kind == drivers.Charger && s.used && d.Commanded == nil && !d.Held:
		case d.Kind == drivers.Charger && s.used && d.Commanded != nil && rd.in.Now.Sub(d.ChangedAt) < followsWithin:
			sum += math.Max(d.GivenW().Or(0), s.giveW*followed(rd.in.Now.Sub(d.ChangedAt)))
		default:
			sum += d.GivenW().Or(0)
		}
	}
	return sum
}

// comfort engages thermostats and relays, in the order of the config, until
// what is missing is covered, and returns what they are expected to give.
// Where the target is bounded, one that would give more than is missing stays
// out: it would carry the site beyond the bound.
func (rd *round) comfort(devices []*Device, missingW float64, bounded bool) float64 {
	var given float64
	for _, d := range devices {
		if d.Kind != drivers.Thermostat && d.Kind != drivers.Relay {
			continue
		}
		s := rd.shares[d.Name]
		if reason := rd.comfortRefusal(d); reason != "" {
			s.reason = reason
			continue
		}
		expectW := d.NormalW.Or(d.RatedW)
		missing := missingW - given
		if missing <= 0 || expectW <= 0 || (bounded && expectW > missing) {
			if !s.used {
				s.reason = NotNeeded
			}
			continue
		}
		s.used, s.inhibit, s.offsetK, s.giveW = true, true, d.MaxOffsetK, expectW
		s.reason = Inhibited
		if d.MaxOffsetK > 0 {
			s.reason = Shifted
		}
		given += expectW
	}
	return given
}

// Comfort limits that no target overrides (domain.md 6, F3).
const (
	lowestRoomC  = 16
	highestRoomC = 30
)

func (rd *round) comfortRefusal(d *Device) Reason {
	if t := d.TemperatureC; t.OK && (t.V < lowestRoomC || t.V > highestRoomC) {
		return ComfortLimit
	}
	if d.MaxOff > 0 && d.Commanded != nil && rd.in.Now.Sub(d.HeldSince) >= d.MaxOff {
		return MaxOffReached
	}
	// After it was held off a load runs at least as long as its compressor
	// needs before it may be held off again.
	if d.Commanded == nil && !d.FreeSince.IsZero() && rd.in.Now.Sub(d.FreeSince) < d.MinOn {
		return MinOn
	}
	return ""
}

// raise lets lower-ranked timeslots that overlap raise the target with energy
// that no higher-ranked one needs (domain.md 2.2, row "overlap").
func (rd *round) raise(d demand) float64 {
	want := d.wantW
	for _, lower := range d.raised {
		more := asked(lower, rd.in.Policy) - want
		if more <= 0 {
			continue
		}
		var spare float64
		for _, dev := range rd.devicesOf(d.meter) {
			if dev.Kind != drivers.Battery {
				continue
			}
			spare += rd.spareW(dev, d.rec, lower, want)
		}
		want += math.Min(more, spare)
	}
	return want
}

// spareW is the power beyond want that a battery can give to the lower-ranked
// timeslot until its end, after the winner has all that it needs.
func (rd *round) spareW(dev *Device, winner, lower *dispatch.Record, want float64) float64 {
	p, _ := rd.affordable(dev, lower, lower.End)
	limit := dev.MaxDischargeW.Or(0)
	energy := usableWh(dev, rd.reserve(dev, lower))
	if !energy.OK {
		return math.Max(0, math.Min(p, limit)-want)
	}
	winnerLeft := winner.End.Sub(rd.in.Now).Hours()
	lowerLeft := math.Max(lower.End.Sub(rd.in.Now).Hours(), 1.0/60)
	left := energy.V - rd.keptWh(dev, lower) - math.Min(want, limit)*winnerLeft
	return clamp(left/lowerLeft, 0, math.Max(0, limit-want))
}

// serveRelease lets the devices go back to normal over the policy's time. It
// only ever goes down: nothing gives more after a timeslot than it gave in it.
func (rd *round) serveRelease(d demand) {
	bound, _ := rd.bound(d)
	restW := math.Min(d.wantW*d.fraction, bound)
	var batteries []*Device
	for _, dev := range rd.devicesOf(d.meter) {
		s := rd.shares[dev.Name]
		if s.used || dev.Commanded == nil {
			continue // another timeslot has it, or it is free already
		}
		switch dev.Kind {
		case drivers.Charger:
			rd.releaseCharger(dev, s, d.fraction)
		case drivers.Battery:
			batteries = append(batteries, dev)
		default:
			if d.fraction > 0.5 && rd.comfortRefusal(dev) == "" {
				s.used, s.inhibit, s.offsetK, s.reason = true, true, dev.MaxOffsetK*d.fraction, Releasing
			}
		}
	}
	rest := math.Max(0, restW-rd.cuts(rd.devicesOf(d.meter)))
	rd.batteries(batteries, d.rec, rd.in.Now.Add(rd.in.Policy.Release), rest, true)
	for _, dev := range batteries {
		s := rd.shares[dev.Name]
		s.reason = Releasing
		s.giveW = math.Min(s.giveW, math.Max(0, dev.Commanded.PowerW))
	}
	rd.out.Meters = append(rd.out.Meters, MeterDecision{ID: d.meter.ID, EventID: d.rec.EventID,
		Reference: ByDevice, DeliveredW: rd.deliveredW(d.meter, 0, d.ev), Reason: Releasing})
}
