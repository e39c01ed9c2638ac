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
func Asked(r *dispatch.Record, p Policy) drivers.Opt { return drivers.Some(asked(r, p.Basis)) }

// Owed returns what a timeslot holds the site to in W, unknown where that is the
// most that it can give. Under max-paid more is given than is owed.
func Owed(r *dispatch.Record, p Policy) drivers.Opt {
	basis := p.Basis
	if basis == BasisMaxPaid {
		basis = BasisEnergy
	}
	if w := asked(r, basis); !math.IsInf(w, 0) {
		return drivers.Some(w)
	}
	return drivers.Opt{}
}

// asked returns what a timeslot asks for in W after cap and basis, or +Inf for
// "the most that the site can give". The rules are the rows energy_kw and the
// three caps of domain.md 2.2.
func asked(r *dispatch.Record, basis string) float64 {
	want := math.Inf(1)
	if r.EnergyKW != nil {
		want = *r.EnergyKW * wattsPerKW
	}
	nomination := math.Inf(1)
	if r.NominationKW != nil {
		nomination = *r.NominationKW * wattsPerKW
	}
	switch basis {
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
// not push). It is below zero where the site is beyond floor by itself.
func boundW(pt *Point, floor float64) float64 {
	load := pt.UncontrolledLowW
	if !load.OK {
		load = pt.UncontrolledW
	}
	return load.Or(0) - floor
}

// relativeFade is how long the mean load before a timeslot stays a good guess
// of what the site would draw; after it the reference is the devices' own
// power (domain.md 4.1, "decaying to device mode").
const relativeFade = time.Hour

// level is what a meter is compared with: the load that there would be without
// us, and how much that counts against the devices' own power.
type level struct {
	by     Reference
	loadW  float64
	weight float64     // 0: the devices' own power alone
	restW  drivers.Opt // what the meter would show now if all devices were left alone
	shownW drivers.Opt // what it shows
}

// levelOf is the level that a meter's target is measured against now: the
// baseline that was estimated before the timeslot, else the load before it,
// fading (domain.md 4.1).
func (rd *round) levelOf(m *Meter, ev Event) level {
	if m.Device {
		return rd.deviceLevel(m, ev)
	}
	own := level{by: ByDevice}
	if !usable(m.Point) {
		return own
	}
	own.restW, own.shownW = m.Point.UncontrolledW, rd.in.MeasuredW(m)
	if m.Reference == ByDevice {
		return own
	}
	if m.Reference == ByBaseline && ev.BaselineW.OK {
		return own.against(ByBaseline, ev.BaselineW.V, 1)
	}
	if !ev.PreLoadW.OK {
		return own
	}
	w := 1.0
	if gone := rd.in.Now.Sub(ev.PreStart); gone > 0 {
		w = math.Max(0, 1-float64(gone)/float64(relativeFade))
	}
	if w == 0 {
		return own
	}
	return own.against(Relative, ev.PreLoadW.V, w)
}

// deviceLevel is the level of a meter that is settled at a device: the
// baseline of the device itself where its program has one. Where the device is
// not read now it is its own power alone.
func (rd *round) deviceLevel(m *Meter, ev Event) level {
	own := level{by: ByDevice}
	shown := rd.in.MeasuredW(m)
	if m.Reference != ByBaseline || !ev.BaselineW.OK || !shown.OK {
		return own
	}
	rest := shown.V
	for _, d := range rd.of(m) {
		given := d.GivenW()
		if !given.OK {
			return own
		}
		rest += given.V
	}
	own.restW, own.shownW = drivers.Some(rest), shown
	return own.against(ByBaseline, ev.BaselineW.V, 1)
}

func (l level) against(by Reference, loadW, weight float64) level {
	l.by, l.loadW, l.weight = by, loadW, weight
	return l
}

// usable tells whether a point can be tracked now: also for a while after its
// meter fell silent, by the last load of others and what our own devices
// measure (domain.md 4.5: then the share is held).
func usable(pt *Point) bool {
	return pt != nil && pt.UncontrolledW.OK && (pt.Fresh && pt.LoadW.OK || !pt.Fresh && pt.Age <= meterForgotten)
}

// baseline is the net load in W that the meter is taken to show without us.
func (l level) baseline() drivers.Opt {
	if !l.restW.OK {
		return drivers.Opt{}
	}
	return drivers.Some(l.weight*l.loadW + (1-l.weight)*l.restW.V)
}

// driftW is how far the load has left its level by itself: what the devices
// must give beyond the target for the meter to show the level less the target.
func (l level) driftW() float64 {
	if l.weight == 0 {
		return 0
	}
	return l.weight * (l.restW.V - l.loadW)
}

// SettlementInterval is the grid that energy is settled on (domain.md 3).
const SettlementInterval = 15 * time.Minute

// trimFloor keeps the trim from acting on the last seconds of an interval.
const trimFloor = time.Minute

// trimShare is how much of what the running settlement interval has missed or
// exceeded is made up for in the time left. Domain.md 4.4 has one half: then a
// third is still missing when the last minute begins, with all of it a tenth.
const trimShare = 1.0

// trimW corrects for what the running settlement interval has missed or
// exceeded so far, over the time that is left, by limitW at most (domain.md
// 4.4).
func trimW(ev Event, end, now time.Time, limitW float64) float64 {
	left := now.Truncate(SettlementInterval).Add(SettlementInterval).Sub(now)
	if toEnd := end.Sub(now); toEnd < left {
		left = toEnd
	}
	if left < trimFloor {
		left = trimFloor
	}
	missingWh := ev.IntervalTargetWh - ev.IntervalDeliveredWh
	return clamp(trimShare*missingWh/left.Hours(), -limitW, limitW)
}

func clamp(v, low, high float64) float64 {
	return math.Max(low, math.Min(high, v))
}
