package gateway

import (
	"slices"
	"sort"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/status"
)

// Report is the performance of one timeslot as it was measured here: as it was
// fixed after the end, else as it stands now.
func (g *Gateway) Report(eventID string) (status.Report, bool) {
	r, known := g.schedule.Load().Get(eventID)
	e, measured := g.event(eventID)
	switch {
	case measured && e.Frozen != nil && (!known || e.Frozen.holds(r)):
		return e.Frozen.Report, true
	case !known:
		return status.Report{}, false
	}
	p := g.reporter()
	p.schedule = g.schedule.Load()
	return p.report(r, e, measured, g.clock.Now()), true
}

// reporter makes reports of what was measured.
type reporter struct {
	policy plan.Policy
	loads  measuredLoad     // nil: what the rounds booked is all there is
	shown  map[string]shown // by meter id
	// schedule is what other timeslots there were; nil: none.
	schedule *dispatch.Schedule
}

func newReporter(cfg *config.Config, loads *loadlog.Log) reporter {
	p := reporter{policy: policyOf(cfg.Policy), loads: loads, shown: map[string]shown{}}
	for _, m := range cfg.Meters {
		p.shown[m.ID] = shownBy(cfg, m)
	}
	return p
}

func (g *Gateway) reporter() reporter {
	return newReporter(g.cfg, g.loads)
}

// report makes the report of a timeslot as it stands at a time. Without
// anything measured it holds what the timeslot itself says.
func (p reporter) report(r dispatch.Record, e event, measured bool, now time.Time) status.Report {
	state, reason := r.StateAt(now, 0)
	rep := status.Report{EventID: r.EventID, MeterID: r.MeterID, Start: r.Start, End: r.End,
		CancelledAt: r.CancelledAt, Programs: r.Programs, EventTypes: r.EventTypes, Voluntary: r.Voluntary, Cap: r.Cap,
		NominatedKW: r.NominationKW, AwardedKW: r.EnergyKW, Basis: p.policy.Basis, Label: status.ReportLabel}
	if !measured && state == dispatch.Completed && p.wouldFollow(&r) {
		e, measured = event{EventID: r.EventID, MeterID: r.MeterID, Start: r.Start, End: r.End}, true
	}
	if measured {
		state, reason = outcome(state, reason, e)
	}
	rep.State, rep.Reason, rep.ReasonText = state, reason, plan.ReasonText(plan.Reason(reason))
	if !measured { // nothing that was to be done here
		rep.Verdict = verdict(&rep, false, now)
		return rep
	}
	rep.Reference = string(e.reference())
	rep.Baseline, rep.BaselineAfter = usedBaseline(e), e.BaselineAfter
	rep.LoadChannel, rep.LoadNegated = p.shown[r.MeterID].name(), p.shown[r.MeterID].battery
	a := accountOf(r, e, now, p.policy, p.outranked(&r))
	a.loads, a.shown = p.loads, p.shown[r.MeterID]
	a.fill(&rep)
	sort.Slice(rep.Shortfalls, func(i, j int) bool {
		x, y := &rep.Shortfalls[i], &rep.Shortfalls[j]
		return x.Minutes > y.Minutes || x.Minutes == y.Minutes && x.Reason < y.Reason
	})
	rep.Verdict = verdict(&rep, a.owed, now)
	return rep
}

// wouldFollow tells whether a timeslot that passed while this gateway was off
// was to be carried out for some of its time: that is owed in full.
func (p reporter) wouldFollow(r *dispatch.Record) bool {
	_, ours := p.shown[r.MeterID]
	own := r.End.Sub(r.Start).Seconds() - p.outranked(r).seconds(r.Start, r.End)
	return ours && runs(r, p.policy) && own > worthSayingS
}

// reference is what a timeslot is measured against: what its last round had,
// or the baseline where one of its intervals had that. A meter that falls
// silent at the end does not take back what was measured before.
func (e *event) reference() plan.Reference {
	if slices.ContainsFunc(e.Intervals, func(iv interval) bool { return iv.Reference == plan.ByBaseline }) {
		return plan.ByBaseline
	}
	return e.Reference
}

// notesLevels is false of an event that an early version booked: its intervals
// do not say what they were measured against.
func (e *event) notesLevels() bool {
	return slices.ContainsFunc(e.Intervals, func(iv interval) bool { return iv.LevelS > 0 })
}

// usedBaseline is the estimate that a timeslot is measured against, nil where
// its reference is another.
func usedBaseline(e event) *baseline.Estimate {
	if e.reference() != plan.ByBaseline {
		return nil
	}
	return e.Baseline
}

// settledBy is the estimate that the report counts by: the one with the hours
// after the end once it is there (domain.md 3.2).
func settledBy(e event) *baseline.Estimate {
	if e.reference() == plan.ByBaseline && e.BaselineAfter != nil {
		return e.BaselineAfter
	}
	return usedBaseline(e)
}

func devicesOf(wh map[string]float64) []status.ReportDevice {
	var out []status.ReportDevice
	for name, given := range wh {
		out = append(out, status.ReportDevice{Name: name, DeliveredWh: given})
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].DeliveredWh > out[j].DeliveredWh || out[i].DeliveredWh == out[j].DeliveredWh && out[i].Name < out[j].Name
	})
	return out
}

func shortfall(reason plan.Reason, seconds float64) status.Shortfall {
	return status.Shortfall{Reason: string(reason), Minutes: seconds / 60, Text: plan.ReasonText(reason), Action: advice()[reason]}
}

// outcome is the final state of a timeslot that this gateway held back: it did
// not complete, whatever the time is.
func outcome(s dispatch.State, reason string, e event) (dispatch.State, string) {
	if s == dispatch.Completed && !e.Followed && e.Suppressed != "" {
		return dispatch.Suppressed, string(e.Suppressed)
	}
	return s, reason
}

// event returns what was measured of a timeslot, from memory or the store.
func (g *Gateway) event(id string) (event, bool) {
	if e, ok := g.events.get(id); ok {
		return e, true
	}
	raw, found, err := g.store.Get(eventsBucket, id)
	if err != nil || !found {
		return event{}, false
	}
	e, err := decodeEvent(raw)
	return e, err == nil
}
