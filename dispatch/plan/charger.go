package plan

import (
	"cmp"
	"math"
	"slices"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// Charger rules of domain.md 4.3 and 4.4.
const (
	chargerDwell = 30 * time.Second // between two changes of the limit
	pauseDwell   = 5 * time.Minute  // a pause lasts at least
	chargingW    = 300              // below this a vehicle is not charging
	releaseStepA = 4                // a step up
)

// wattsPerAmp is what one ampere of limit draws.
func wattsPerAmp(d *Device) float64 {
	return d.VoltageV * float64(max(d.Phases, 1))
}

// chargers lowers charging to cover aimW. The pilot signal knows 0 or 6 A and
// more (IEC 61851-1): with a battery that fills the gap a charger stays at its
// smallest current, without one it pauses for a committed timeslot. Those with
// the most time until they leave come first.
func (rd *round) chargers(devices []*Device, aimW, batteryW float64, r *dispatch.Record, bounded bool) float64 {
	var cut float64
	for _, d := range rd.bySlack(devices, r.End) {
		s := rd.share(d)
		normal := d.NormalW.Or(0)
		if normal < chargingW {
			if !s.used {
				s.reason = NotCharging
			}
			continue
		}
		must := rd.mustDrawW(d, r.End)
		share := math.Min(math.Max(0, normal-must), aimW-cut)
		if share <= 0 || rd.freedJustNow(d) {
			rd.restCharger(d, s, must >= normal)
			continue
		}
		amps := rd.chargerAmps(d, normal, share, batteryW > 0 || bounded || must > 0)
		if amps < d.MinA {
			amps = d.MinA
			short := share - (normal - d.MinA*wattsPerAmp(d))
			beyond := bounded && normal > share // a pause would carry the site beyond its bound
			if !r.Voluntary && !beyond && must == 0 && short > batteryW-(aimW-cut-share) {
				amps = 0
			}
		}
		rd.holdCharger(d, s, amps)
		if must > 0 && share < aimW-cut {
			s.reason = Departure
		}
		gives := math.Max(0, normal-math.Min(normal, s.amps*wattsPerAmp(d)))
		s.giveW = math.Max(s.giveW, gives)
		cut += gives
	}
	return cut
}

// restCharger leaves a charger alone, but for a limit that is too young to go.
func (rd *round) restCharger(d *Device, s *share, leaves bool) {
	switch {
	case d.Commanded != nil && rd.in.Now.Sub(d.ChangedAt) < chargerDwell:
		rd.holdCharger(d, s, d.Commanded.CurrentA)
		s.giveW = math.Max(s.giveW, d.GivenW().Or(0))
	case leaves:
		s.reason = Departure
	case !s.used:
		s.reason = NotNeeded
	}
}

// freedJustNow: a limit that was taken away is a change, too.
func (rd *round) freedJustNow(d *Device) bool {
	return d.Commanded == nil && !d.FreeSince.IsZero() && rd.in.Now.Sub(d.FreeSince) < chargerDwell
}

// bySlack returns the chargers, those first that can wait longest.
func (rd *round) bySlack(devices []*Device, end time.Time) []*Device {
	var out []*Device
	for _, d := range devices {
		if d.Kind == drivers.Charger {
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b *Device) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(rd.mustDrawW(a, end), rd.mustDrawW(b, end)))
	})
	return out
}

// mustDrawW is what a vehicle must draw until end so that the time between end
// and its departure is enough for the rest (domain.md 4.3, "slack until
// departure").
func (rd *round) mustDrawW(d *Device, end time.Time) float64 {
	if !d.NeedWh.OK || d.DepartAt.IsZero() {
		return 0
	}
	mostW := d.MaxA * wattsPerAmp(d)
	after := math.Max(0, d.DepartAt.Sub(end).Hours()) * mostW
	rest := d.NeedWh.V - after
	if rest <= 0 {
		return 0
	}
	until := end
	if d.DepartAt.Before(end) {
		until = d.DepartAt
	}
	return math.Min(mostW, rest/math.Max(until.Sub(rd.in.Now).Hours(), time.Minute.Hours()))
}

// chargerAmps is the limit that leaves a vehicle with normal-share. A battery
// fills what rounding up to whole amperes leaves; without one the rounding goes
// down so that the share is given in full, unless more must not be given.
func (rd *round) chargerAmps(d *Device, normal, share float64, up bool) float64 {
	amps := (normal - share) / wattsPerAmp(d)
	if up {
		return math.Min(math.Ceil(amps), d.MaxA)
	}
	return math.Min(math.Floor(amps), d.MaxA)
}

// holdCharger sets the limit, or keeps the one in force while it is too young
// to be changed again.
func (rd *round) holdCharger(d *Device, s *share, amps float64) {
	if s.used {
		amps = math.Min(amps, s.amps) // two meters: the lower limit serves both
	}
	if c := d.Commanded; c != nil {
		stands := rd.in.Now.Sub(d.ChangedAt)
		if stands < chargerDwell || c.CurrentA == 0 && stands < pauseDwell {
			if amps != c.CurrentA {
				s.clamped = byDwell
			}
			amps = c.CurrentA
		}
	}
	s.used, s.amps = true, amps
	switch {
	case amps == 0:
		s.reason = Paused
	case amps <= d.MinA:
		s.reason = MinCurrent
	default:
		s.reason = Following
	}
}

// releaseCharger raises the limit step by step after a timeslot.
func (rd *round) releaseCharger(d *Device, s *share, fraction float64) {
	s.used, s.reason = true, Releasing
	low := d.Commanded.CurrentA
	aim := d.MaxA - (d.MaxA-d.MinA)*fraction
	if rd.in.Now.Sub(d.ChangedAt) < chargerDwell {
		s.amps = low
		return
	}
	s.amps = math.Min(math.Max(low, math.Floor(aim)), math.Max(low+releaseStepA, d.MinA))
	s.amps = math.Max(low, math.Min(s.amps, rd.importAmps(d)))
	rd.granted += math.Max(0, s.amps-low) * wattsPerAmp(d)
}

// importAmps is the limit that keeps the site below its service rating: what
// the charger draws is ours while we hold its limit, the rest is not. Where
// the site's load is not known, nothing is raised.
func (rd *round) importAmps(d *Device) float64 {
	pt := rd.in.Site.Point
	if rd.in.Site.MaxImportW <= 0 || pt == nil {
		return d.MaxA
	}
	if !pt.Fresh || !pt.LoadW.OK || !d.PowerW.OK {
		return 0
	}
	room := rd.in.Site.MaxImportW - (pt.LoadW.V - d.PowerW.V) - rd.granted
	amps := math.Floor(room / wattsPerAmp(d))
	if amps < d.MinA {
		return 0
	}
	return math.Min(amps, d.MaxA)
}

// A vehicle follows a new limit after some seconds (domain.md 4.6: 5 s of delay
// and 4 s of lag). The battery, which itself takes its time to move, makes room
// for it by this model, not by what was measured late.
const (
	vehicleDelay  = 5 * time.Second
	vehicleLag    = 4 * time.Second
	followsWithin = 15 * time.Second // then what it draws counts, nothing else
)

// followed is how much of a new limit a vehicle has followed by the time that a
// battery told now, which is so late, will have moved, 0 to 1.
func followed(since, late time.Duration) float64 {
	moving := since + late - vehicleDelay
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
	late := deadTime
	for _, d := range devices {
		if d.Kind == drivers.Battery {
			late = max(late, d.Lag)
		}
	}
	for _, d := range devices {
		s := rd.share(d)
		switch {
		case d.Kind == drivers.Battery:
		case d.Kind == drivers.Charger && s.used && d.Commanded == nil && !d.Held:
		case d.Kind == drivers.Charger && s.used && d.Commanded != nil && rd.in.Now.Sub(d.ChangedAt) < followsWithin:
			sum += math.Max(d.GivenW().Or(0), s.giveW*followed(rd.in.Now.Sub(d.ChangedAt), late))
		default:
			sum += d.GivenW().Or(0)
		}
	}
	return sum
}
