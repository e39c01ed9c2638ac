package plan

import (
	"math"
	"sort"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// demand is what one meter wants from its devices in this round.
type demand struct {
	meter     *Meter
	rec       *dispatch.Record // the winner, whose rank and caps count
	at        int              // its place in the input
	rank      dispatch.Record  // a copy for ordering demands of several meters
	ev        Event
	state     dispatch.State
	wantW     float64 // after caps, +Inf for "all"
	raised    []*dispatch.Record
	releasing bool
	fraction  float64       // of wantW, while releasing
	gone      time.Duration // since the end, while releasing
}

// classify gives every timeslot its state and every meter its candidates.
func (rd *round) classify() {
	rd.out.Slots = make([]SlotDecision, 0, len(rd.in.Slots))
	rd.slotMeter = make([]int, len(rd.in.Slots))
	near := rd.in.Now.Add(longestLead)
	for i := range rd.in.Slots {
		r := &rd.in.Slots[i]
		var m *Meter
		rd.slotMeter[i] = -1
		if at, ours := rd.meterAt[r.MeterID]; ours {
			m, rd.slotMeter[i] = &rd.in.Meters[at], at
		}
		// Only one that starts within the longest lead is worth a closer look.
		var lead time.Duration
		if m != nil && r.Start.After(rd.in.Now) && !r.Start.After(near) {
			lead = rd.lead(r, m)
		}
		state, why := r.StateAt(rd.in.Now, lead)
		d := SlotDecision{EventID: r.EventID, MeterID: r.MeterID, State: state, Reason: Reason(why)}
		if m == nil && (state == dispatch.Active || state == dispatch.Armed || state == dispatch.Pending) {
			d.State, d.Reason = dispatch.Suppressed, NotOurMeter
		}
		running := state == dispatch.Active || state == dispatch.Armed
		test := state == dispatch.Suppressed && r.IntegrationTest && rd.in.ActuateTests
		if m != nil && (running || test) {
			if reason := rd.refusal(r); reason != "" {
				d.State, d.Reason = dispatch.Suppressed, reason
				if state == dispatch.Armed {
					d.State = dispatch.Pending
				}
			} else {
				at := rd.slotMeter[i]
				rd.candidates[at] = append(rd.candidates[at], candidate{r, i})
			}
		}
		rd.out.Slots = append(rd.out.Slots, d)
	}
}

// refusal says why a timeslot that could run is not followed; empty if it is.
func (rd *round) refusal(r *dispatch.Record) Reason {
	in := rd.in
	switch {
	case in.Stopped:
		return OwnerStop
	case r.IntegrationTest && !in.ActuateTests:
		return IntegrationTest
	case r.CommunicationTest && in.Policy.CommunicationTest != TestActuate && !in.ActuateTests:
		return CommTest
	case r.Voluntary && in.Policy.Voluntary == VoluntaryIgnore && !r.IsCapacityTest():
		return PolicyVoluntary
	case in.Policy.OnMissing == MissingDrop && r.IsMissing() && !in.Events[r.EventID].Running:
		return MissingDropped
	case !in.ClockTrusted && !in.Events[r.EventID].Running:
		return ClockUntrusted
	}
	return ""
}

// lead is how long before its start a timeslot is prepared: the time that the
// ramp and the dead time of the devices take, so that the first minute counts
// (domain.md 4.4: 0-60 s).
func (rd *round) lead(r *dispatch.Record, m *Meter) time.Duration {
	slew, most, longest, late := 0.0, 0.0, time.Duration(0), deadTime
	for _, d := range rd.of(m) {
		switch {
		case d.Kind == drivers.Battery && rd.shortOfEnergy(d, r):
			// What it gives before the start is missing in the timeslot.
		case d.Kind == drivers.Battery:
			slew += slewW(d)
			most += d.MaxDischargeW.Or(0)
			late = max(late, d.Lag)
		case d.Kind == drivers.Charger:
			longest = chargerLead
		}
	}
	if slew > 0 {
		target := math.Min(asked(r, rd.in.Policy.Basis), most)
		longest = max(longest, late+time.Duration(target/slew*float64(time.Second)))
	}
	return min(longest, longestLead)
}

// longestLead is the longest that a timeslot is prepared before its start
// (domain.md 4.4).
const longestLead = time.Minute

// shortOfEnergy tells whether a battery has not got what a timeslot needs of it.
func (rd *round) shortOfEnergy(d *Device, r *dispatch.Record) bool {
	energy := usableWh(d, rd.reserve(d, r))
	return energy.OK && energy.V < math.Min(rd.needW(d, r), d.MaxDischargeW.Or(0))*r.End.Sub(r.Start).Hours()
}

// deadTime is how long devices typically take before they move at all
// (domain.md 4.6: 2 s for a battery).
const deadTime = 3 * time.Second

// chargerLead is the same for a vehicle, whose on-board charger comes down
// slowly (domain.md 4.6: 5 s of delay and 4 s of lag).
const chargerLead = 10 * time.Second

// demands turns candidates into one demand a meter, highest rank first.
func (rd *round) demands() []demand {
	var ds []demand
	for i := range rd.in.Meters {
		m := &rd.in.Meters[i]
		cands := rd.candidates[i]
		if len(cands) == 0 {
			if d, ok := rd.release(m); ok {
				ds = append(ds, d)
			}
			continue
		}
		// A timeslot that runs goes before one that is only being prepared.
		sort.SliceStable(cands, func(i, j int) bool {
			a, b := cands[i].rec, cands[j].rec
			if waits := a.Start.After(rd.in.Now); waits != b.Start.After(rd.in.Now) {
				return !waits
			}
			return rd.outranks(a, b)
		})
		ds = append(ds, rd.demandOf(m, cands))
	}
	sort.SliceStable(ds, func(i, j int) bool {
		if ds[i].releasing != ds[j].releasing {
			return ds[j].releasing
		}
		return rd.outranks(&ds[i].rank, &ds[j].rank)
	})
	return ds
}

func (rd *round) demandOf(m *Meter, cands []candidate) demand {
	first := cands[0].rec
	d := demand{meter: m, rec: first, at: cands[0].at, rank: *first, ev: rd.in.Events[first.EventID],
		state: dispatch.Active, wantW: asked(first, rd.in.Policy.Basis), fraction: 1}
	if first.Start.After(rd.in.Now) {
		d.state = dispatch.Armed
	}
	for _, c := range cands[1:] {
		lower := c.rec
		rd.mark(c.at, dispatch.Suppressed, HigherPriority)
		if !lower.Start.After(rd.in.Now) && asked(lower, rd.in.Policy.Basis) > d.wantW {
			d.raised = append(d.raised, lower)
		}
	}
	return d
}

// release finds the timeslot that ended last, while its release lasts: a
// cancelled one ends when we learn of it (domain.md 2.2).
func (rd *round) release(m *Meter) (demand, bool) {
	if rd.in.Policy.Release <= 0 || rd.in.Stopped {
		return demand{}, false
	}
	var best demand
	var bestEnd time.Time
	for i := range rd.in.Slots {
		r := &rd.in.Slots[i]
		if r.Start.After(rd.in.Now) || r.MeterID != m.ID || r.Problem != "" {
			continue
		}
		ev := rd.in.Events[r.EventID]
		if ev.LastTargetW <= 0 {
			continue
		}
		end := r.End
		if r.Cancelled && r.CancelledAt.Before(end) {
			end = r.CancelledAt
		}
		gone := rd.in.Now.Sub(end)
		if gone < 0 || !end.After(bestEnd) {
			continue
		}
		if gone >= rd.releaseWindow(m, r) && (gone >= nextNear || !rd.nextSoon(m)) {
			continue
		}
		bestEnd = end
		best = demand{meter: m, rec: r, rank: *r, ev: ev, wantW: ev.LastTargetW, releasing: true, gone: gone,
			fraction: math.Max(0, 1-float64(gone)/float64(rd.in.Policy.Release))}
	}
	return best, !bestEnd.IsZero()
}

func (rd *round) outranks(a, b *dispatch.Record) bool {
	return dispatch.Outranks(*a, *b, asked(a, rd.in.Policy.Basis), asked(b, rd.in.Policy.Basis))
}
