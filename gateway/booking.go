package gateway

import (
	"time"

	"nominald/dispatch/plan"
	"nominald/drivers"
)

// firstMinutes is how long the first minutes of a timeslot are looked at by
// themselves: programs ask how fast a site responds (domain.md 4.4, "the first
// minute counts", and five minutes are the shortest settlement of domain.md 3.1).
const firstMinutes = 5 * time.Minute

// loadOf is the load that the meter shows now; unknown where it is settled at
// a device's own power, or the reading is old.
func loadOf(in plan.Input, meterID string) drivers.Opt {
	for i := range in.Meters {
		if m := &in.Meters[i]; m.ID == meterID {
			return in.MeasuredW(m)
		}
	}
	return drivers.Opt{}
}

// book adds a stretch of time to an event: what the last round aimed for and
// saw, and what the meter shows at its end. A stretch is a second or two; one
// that begins in an interval counts to it.
func (e *event) book(md *plan.MeterDecision, devices []plan.Device, loadW drivers.Opt, from time.Time, d time.Duration) {
	e.changed = true
	if !md.DeliveredW.OK && !loadW.OK {
		return
	}
	iv := e.interval(from)
	if loadW.OK {
		iv.LoadWh += loadW.V * d.Hours()
		iv.LoadS += d.Seconds()
	}
	if !md.DeliveredW.OK {
		return
	}
	e.ReasonS[md.Reason] += d.Seconds()
	iv.ReasonS[md.Reason] += d.Seconds()
	iv.add(md, d)
	if from.Before(e.Start.Add(firstMinutes)) {
		e.First.add(md, d)
	}
	for i := range devices {
		if g := devices[i].GivenW(); g.OK {
			e.DeviceWh[devices[i].Name] += g.V * d.Hours()
			iv.DeviceWh[devices[i].Name] += g.V * d.Hours()
		}
	}
}

// hold books a stretch of time in which an event was held back.
func (e *event) hold(why plan.Reason, from time.Time, d time.Duration) {
	e.ReasonS[why] += d.Seconds()
	e.HeldS += d.Seconds()
	e.interval(from).ReasonS[why] += d.Seconds()
	e.changed = true
}

// interval is the settlement interval that holds t, begun where it was not.
func (e *event) interval(t time.Time) *interval {
	iv := e.at(t)
	if iv == nil {
		e.Intervals = append(e.Intervals, interval{Start: intervalStart(t)})
		iv = &e.Intervals[len(e.Intervals)-1]
	}
	if iv.DeviceWh == nil { // new, or stored while there were none
		iv.DeviceWh = map[string]float64{}
	}
	if iv.ReasonS == nil {
		iv.ReasonS = map[plan.Reason]float64{}
	}
	return iv
}

// add books what was aimed for and delivered.
func (iv *interval) add(md *plan.MeterDecision, d time.Duration) {
	iv.TargetWh += md.TargetW * d.Hours()
	iv.AskedWh += md.OwedW.Or(md.TargetW) * d.Hours()
	iv.DeliveredWh += md.DeliveredW.V * d.Hours()
	iv.Seconds += d.Seconds()
	if md.Reference != plan.ByDevice && md.Reference != "" && md.BaselineW.OK {
		iv.BaselineWh += md.BaselineW.V * d.Hours()
		iv.LevelS += d.Seconds()
		iv.Reference = md.Reference
	}
}
