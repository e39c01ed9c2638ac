package plan

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

const wattsPerKW = 1000

// Asked returns what a timeslot asks for in W, unknown where it asks for the
// most that the site can give.
func Asked(r *dispatch.Record, p Policy) drivers.Opt { return drivers.Some(asked(r, p)) }

// asked returns what a timeslot asks for in W after cap and basis, or +Inf for
// "the most that the site can give". The rules are the rows energy_kw and the
// three caps of domain.md 2.2.
func asked(r *dispatch.Record, p Policy) float64 {
	want := math.Inf(1)
	if r.EnergyKW != nil {
		want = *r.EnergyKW * wattsPerKW
	}
	nomination := math.Inf(1)
	if r.NominationKW != nil {
		nomination = *r.NominationKW * wattsPerKW
	}
	switch p.Basis {
	case BasisNomination:
		if r.EnergyKW != nil && r.NominationKW != nil {
			want = math.Max(want, nomination)
		}
	case BasisMaxPaid:
		want = math.Inf(1)
	}
	// A cap that we do not know is treated as the one that gives least away.
	if r.Cap == dispatch.UpToNomination || !r.Cap.Known() {
		want = math.Min(want, nomination)
	}
	return want
}

// floorW is the lowest net site load that a timeslot may lead to.
func floorW(r *dispatch.Record, s Site) float64 {
	if r.Cap == dispatch.GridExportsAllowed || r.Cap == dispatch.UpToNomination {
		return -s.MaxExportW
	}
	return 0
}

// boundW is the most that devices may give together at a point so that its
// net load stays at or above floor. Where the point has never been read, the
// site is assumed to draw nothing (domain.md 4.5: when we do not know, we do
// not push).
func boundW(pt *Point, floor float64) float64 {
	load := pt.UncontrolledLowW
	if !load.OK {
		load = pt.UncontrolledW
	}
	return math.Max(0, load.Or(0)-floor)
}

// relativeFade is how long the mean load before a timeslot stays a good guess
// of what the site would draw; after it the reference is the devices' own
// power (domain.md 4.1, "decaying to device mode").
const relativeFade = time.Hour

// weight says how much the load before the timeslot counts now, 0 to 1.
func weight(m *Meter, ev Event, now time.Time) float64 {
	if m.Device || m.Reference == ByDevice || !ev.PreLoadW.OK || !usable(m.Point) {
		return 0
	}
	gone := now.Sub(ev.PreStart)
	if gone <= 0 {
		return 1
	}
	return math.Max(0, 1-float64(gone)/float64(relativeFade))
}

// usable tells whether a point can be tracked now.
func usable(pt *Point) bool {
	return pt != nil && pt.Fresh && pt.LoadW.OK && pt.UncontrolledW.OK
}

// baseline estimates the net load that the meter would show without us.
func baseline(m *Meter, w float64, ev Event) drivers.Opt {
	if m.Device || !usable(m.Point) {
		return drivers.Opt{}
	}
	return drivers.Some(w*ev.PreLoadW.Or(0) + (1-w)*m.Point.UncontrolledW.V)
}

// SettlementInterval is the grid that energy is settled on (domain.md 3).
const SettlementInterval = 15 * time.Minute

// trimFloor keeps the trim from acting on the last seconds of an interval.
const trimFloor = time.Minute

// trimW corrects for what the running settlement interval has missed or
// exceeded so far: half of it, over the time that is left (domain.md 4.4).
func trimW(ev Event, end, now time.Time, largestW float64) float64 {
	left := now.Truncate(SettlementInterval).Add(SettlementInterval).Sub(now)
	if toEnd := end.Sub(now); toEnd < left {
		left = toEnd
	}
	if left < trimFloor {
		left = trimFloor
	}
	missingWh := ev.IntervalTargetWh - ev.IntervalDeliveredWh
	limit := math.Min(1000, 0.2*largestW)
	return clamp(0.5*missingWh/left.Hours(), -limit, limit)
}

func clamp(v, low, high float64) float64 {
	return math.Max(low, math.Min(high, v))
}
