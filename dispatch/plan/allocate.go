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
// and, where that is less than aimW, why.
func (rd *round) allocate(d demand, aimW float64, bounded bool) (float64, Reason) {
	devices := rd.devicesOf(d.meter)
	batteryW, why := rd.batteryPower(devices, d)

	cutW := rd.chargers(devices, aimW, batteryW, !d.rec.Voluntary)
	missing := aimW - cutW - batteryW
	if !d.rec.Voluntary || batteryW == 0 {
		// For voluntary timeslots comfort is not spent where a battery serves
		// (domain.md 4.3: "stop after (b)").
		cutW += rd.comfort(devices, missing)
	}
	givenW := cutW + rd.batteries(devices, d, math.Max(0, aimW-rd.cuts(devices)), bounded)
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
		if d == nil || d.Kind == drivers.Meter {
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

// batteryPower is what the batteries can hold until the timeslot's end, and
// the reason that limits the first of them.
func (rd *round) batteryPower(devices []*Device, d demand) (float64, Reason) {
	var sum float64
	why := ShortOfPower
	for _, dev := range devices {
		if dev.Kind != drivers.Battery {
			continue
		}
		p, reason := rd.affordable(dev, d.rec, d.rec.End)
		if reason != PowerLimit {
			why = ShortOfEnergy
		}
		if dev.Unresponsive {
			p = math.Min(p, math.Max(0, dev.PowerW.Or(0)))
		}
		sum += p
	}
	return sum, why
}

// batteries shares restW over the batteries in proportion to what each can
// afford and returns what they give.
func (rd *round) batteries(devices []*Device, d demand, restW float64, bounded bool) float64 {
	var total float64
	afford := map[string]float64{}
	for _, dev := range devices {
		if dev.Kind == drivers.Battery {
			p, _ := rd.affordable(dev, d.rec, d.rec.End)
			afford[dev.Name] = p
			total += p
		}
	}
	var given float64
	for _, dev := range devices {
		if dev.Kind != drivers.Battery {
			continue
		}
		s := rd.shares[dev.Name]
		p, why := rd.affordable(dev, d.rec, d.rec.End)
		give := 0.0
		if total > 0 {
			give = math.Min(p, restW*afford[dev.Name]/total)
		}
		if give >= p && restW > give || p == 0 {
			s.reason = why
		} else if give == 0 {
			s.reason = NotNeeded
		} else {
			s.reason = Following
		}
		if dev.Unresponsive {
			s.reason = NoResponse
		}
		// Two meters may want the same battery: what it gives counts for both.
		s.giveW, s.used, s.bounded = math.Max(s.giveW, give), true, s.bounded || bounded
		s.barred = s.giveW == 0 && p == 0
		given += s.giveW
	}
	return given
}

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
		case d.Kind == drivers.Charger && s.used && d.Commanded == nil:
		case d.Kind == drivers.Charger && s.used && rd.in.Now.Sub(d.ChangedAt) < followsWithin:
			sum += math.Max(d.GivenW().Or(0), s.giveW*followed(rd.in.Now.Sub(d.ChangedAt)))
		default:
			sum += d.GivenW().Or(0)
		}
	}
	return sum
}

// comfort engages thermostats and relays, in the order of the config, until
// what is missing is covered, and returns what they are expected to give.
func (rd *round) comfort(devices []*Device, missingW float64) float64 {
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
		if missingW-given <= 0 || expectW <= 0 {
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
	rest := max(d.MinOff, 5*time.Minute)
	if d.Commanded == nil && !d.FreeSince.IsZero() && rd.in.Now.Sub(d.FreeSince) < rest && d.MaxOff > 0 {
		return MaxOffReached
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

// serveRelease lets the devices go back to normal over the policy's time.
func (rd *round) serveRelease(d demand) {
	targetW := d.wantW * d.fraction
	bound, _ := rd.bound(d)
	devices := rd.devicesOf(d.meter)
	restW := math.Min(targetW, bound)
	for _, dev := range devices {
		s := rd.shares[dev.Name]
		if s.used || dev.Commanded == nil {
			continue // another timeslot has it, or it is free already
		}
		switch dev.Kind {
		case drivers.Charger:
			rd.releaseCharger(dev, s, d.fraction)
		case drivers.Battery:
			p, _ := rd.affordable(dev, d.rec, rd.in.Now.Add(rd.in.Policy.Release))
			s.giveW = math.Min(p, math.Max(0, restW-rd.cuts(devices)))
			s.used, s.reason, s.barred = true, Releasing, p == 0
		default:
			if d.fraction > 0.5 && rd.comfortRefusal(dev) == "" {
				s.used, s.inhibit, s.offsetK, s.reason = true, true, dev.MaxOffsetK*d.fraction, Releasing
			}
		}
	}
	rd.out.Meters = append(rd.out.Meters, MeterDecision{ID: d.meter.ID, EventID: d.rec.EventID,
		Reference: ByDevice, DeliveredW: rd.deliveredW(d.meter, 0, d.ev), Reason: Releasing})
}
