package plan

import (
	"hash/fnv"
	"math"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// After a timeslot the devices go back to normal: the battery ramps out,
// vehicles step up, and many thermostats are let go one after another, the
// neediest room first, so that the site does not draw all at once what it has
// put off (domain.md 4.3, "Rebound").

// nextNear is how near the next timeslot of the meter must be for loads to stay
// as they are until it starts (domain.md 4.3).
const nextNear = 30 * time.Minute

// releaseWindow is how long after its end a timeslot still has a say.
func (rd *round) releaseWindow(m *Meter, r *dispatch.Record) time.Duration {
	p := rd.in.Policy
	if p.Release <= 0 {
		return 0
	}
	return max(p.Release, rd.stagedOver(m)) + rd.ownWait(m, r)
}

// stagedOver is over what time the meter's thermostats and relays are let go
// one after another; 0 where there are too few to matter.
func (rd *round) stagedOver(m *Meter) time.Duration {
	n := 0
	for _, d := range rd.of(m) {
		if d.Kind == drivers.Thermostat || d.Kind == drivers.Relay {
			n++
		}
	}
	const few = 3
	if n < few {
		return 0
	}
	return rd.in.Policy.ReleaseLoads
}

// ownWait is the time that this site waits after this timeslot before its loads
// go back, so that a fleet of them does not step: 0 to the policy's longest, by
// a hash of meter and timeslot.
func (rd *round) ownWait(m *Meter, r *dispatch.Record) time.Duration {
	longest := rd.in.Policy.ReleaseRandom
	if longest <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(m.ID + " " + r.EventID)) // a hash takes all that it is given
	return time.Duration(h.Sum64() % uint64(longest))
}

// nextSoon tells whether the meter's next timeslot is near.
func (rd *round) nextSoon(m *Meter) bool {
	for i := range rd.in.Slots {
		r := &rd.in.Slots[i]
		wait := r.Start.Sub(rd.in.Now)
		if wait > 0 && wait <= nextNear && r.MeterID == m.ID && !r.Cancelled && r.Problem == "" && rd.refusal(r) == "" {
			return true
		}
	}
	return false
}

// serveRelease lets the devices go back to normal. It only ever goes down:
// nothing gives more after a timeslot than it gave in it.
func (rd *round) serveRelease(d demand) {
	bound, _ := rd.bound(d)
	restW := math.Min(d.wantW*d.fraction, bound)
	waiting := d.gone < rd.ownWait(d.meter, d.rec)
	near := rd.nextSoon(d.meter)
	var batteries, loads []*Device
	for _, dev := range rd.devicesOf(d.meter) {
		s := rd.share(dev)
		switch {
		case s.used: // another timeslot has it
		case dev.Commanded == nil:
			if dev.Kind == drivers.Thermostat || dev.Kind == drivers.Relay {
				loads = append(loads, dev)
			}
		case dev.Kind == drivers.Battery:
			batteries = append(batteries, dev)
		case dev.Kind == drivers.Charger && (near || waiting):
			s.used, s.amps, s.reason = true, dev.Commanded.CurrentA, heldReason(near)
		case dev.Kind == drivers.Charger:
			rd.releaseCharger(dev, s, d.fraction)
		default:
			loads = append(loads, dev)
		}
	}
	rd.releaseLoads(d, loads, near, waiting)
	rest := math.Max(0, restW-rd.cuts(rd.devicesOf(d.meter)))
	rd.batteries(batteries, d.rec, rd.in.Now.Add(rd.in.Policy.Release), rest, true)
	for _, dev := range batteries {
		s := rd.share(dev)
		s.reason = Releasing
		s.giveW, s.probeW = math.Min(s.giveW, math.Max(0, dev.Commanded.PowerW)), 0
	}
	rd.out.Meters = append(rd.out.Meters, MeterDecision{ID: d.meter.ID, EventID: d.rec.EventID,
		Reference: ByDevice, DeliveredW: rd.deliveredW(d.meter, level{}), Reason: Releasing})
}

func heldReason(near bool) Reason {
	if near {
		return HeldForNext
	}
	return Releasing
}

// releaseLoads decides which of the thermostats and relays stay held off.
func (rd *round) releaseLoads(d demand, loads []*Device, near, waiting bool) {
	keep := rd.heldLoads(d, loads)
	for range loads {
		var coolest *Device
		for _, dev := range loads {
			s := rd.share(dev)
			if dev.Commanded == nil || s.used || rd.comfortRefusal(dev) != "" {
				continue
			}
			if coolest == nil || needK(dev) < needK(coolest) {
				coolest = dev
			}
		}
		if coolest == nil {
			return
		}
		s := rd.share(coolest)
		young := rd.in.Now.Sub(coolest.HeldSince) < coolest.MinOff
		if keep <= 0 && !near && !waiting && !young {
			return
		}
		keep--
		s.used, s.inhibit, s.offsetK, s.reason = true, true, coolest.Commanded.OffsetK, heldReason(near)
	}
}

// heldLoads is how many loads stay held off at this time of the release.
func (rd *round) heldLoads(d demand, loads []*Device) int {
	over := rd.stagedOver(d.meter)
	gone := d.gone - rd.ownWait(d.meter, d.rec)
	if over <= 0 {
		if gone < rd.in.Policy.Release/2 {
			return len(loads)
		}
		return 0
	}
	left := 1 - float64(gone)/float64(over)
	// Those that ran at the end count among those that are free already.
	return int(math.Floor(float64(len(loads)) * math.Max(0, left)))
}
