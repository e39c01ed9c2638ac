package gateway

import (
	"math"
	"sort"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

// Report is the performance of one timeslot as it was measured here.
func (g *Gateway) Report(eventID string) (status.Report, bool) {
	r, ok := g.schedule.Load().Get(eventID)
	if !ok {
		return status.Report{}, false
	}
	now := g.clock.Now()
	state, _ := r.StateAt(now, 0)
	rep := status.Report{EventID: r.EventID, MeterID: r.MeterID, Start: r.Start, End: r.End, State: state,
		CancelledAt: r.CancelledAt, Programs: r.Programs, Cap: r.Cap, NominatedKW: r.NominationKW, AwardedKW: r.EnergyKW,
		Label: status.ReportLabel}
	e, ok := g.event(eventID)
	if !ok {
		return rep, true // known, and never its turn while this gateway ran
	}
	rep.State, _ = outcome(state, "", e)
	rep.Reference = string(e.Reference)
	if e.Reference == plan.ByBaseline {
		rep.Baseline = e.Baseline
	}
	rep.BaselineAfter = e.BaselineAfter
	a := accountOf(r, e, now, policyOf(g.cfg.Policy))
	a.fill(&rep)
	for name, wh := range e.DeviceWh {
		rep.Devices = append(rep.Devices, status.ReportDevice{Name: name, DeliveredWh: wh})
	}
	sort.Slice(rep.Devices, func(i, j int) bool { return rep.Devices[i].DeliveredWh > rep.Devices[j].DeliveredWh })
	for reason, seconds := range e.ReasonS {
		if reason != plan.OnTarget && reason != plan.Preparing {
			rep.Shortfalls = append(rep.Shortfalls, status.Shortfall{Reason: string(reason), Minutes: seconds / 60})
		}
	}
	sort.Slice(rep.Shortfalls, func(i, j int) bool { return rep.Shortfalls[i].Minutes > rep.Shortfalls[j].Minutes })
	return rep, true
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

// account is the energy of a timeslot: what was asked of it from its start
// until its end, its cancellation or now, and what of that was measured.
type account struct {
	r     dispatch.Record
	e     event
	until time.Time
	askW  float64 // 0 where it asks for the most there is, or for nothing
	owed  bool    // it was to be carried out
}

func accountOf(r dispatch.Record, e event, now time.Time, p plan.Policy) account {
	a := account{r: r, e: e, until: earlier(r.End, now), owed: true}
	if r.Cancelled {
		a.until = earlier(a.until, r.CancelledAt)
	}
	if !e.Followed {
		switch e.Suppressed {
		case plan.OwnerStop, plan.ClockUntrusted:
		default: // tests, and what the policy or a higher rank left out
			a.owed = false
		}
	}
	if ask := plan.Asked(&r, p); ask.OK && a.owed {
		a.askW = ask.V
	}
	return a
}

// targetWh is what was asked for between two times: as it was asked while it
// was measured, and as it is asked now for the rest. Time in which nothing was
// measured never makes the target smaller.
func (a account) targetWh(from, to time.Time, askedWh, seconds float64) float64 {
	return askedWh + a.askW*max(0, to.Sub(from).Seconds()-seconds)/3600
}

// fill writes the account into a report. The ratio counts each interval only
// as far as its target: beyond it nothing is made good elsewhere (domain.md 3),
// and what was not measured counts as not delivered.
func (a account) fill(rep *status.Report) {
	var delivered, capped, seconds, asked float64
	for _, iv := range a.e.Intervals {
		from, to := later(iv.Start, a.r.Start), earlier(iv.Start.Add(plan.SettlementInterval), a.until)
		target := a.targetWh(from, to, iv.AskedWh, iv.Seconds)
		cover := 0.0
		if length := to.Sub(from).Seconds(); length > 0 {
			cover = math.Min(1, iv.Seconds/length)
		}
		rep.Intervals = append(rep.Intervals, status.ReportInterval{Start: from, End: to,
			TargetWh: target, DeliveredWh: iv.DeliveredWh, Coverage: cover})
		delivered += iv.DeliveredWh
		capped += math.Max(0, math.Min(iv.DeliveredWh, target))
		seconds += iv.Seconds
		asked += iv.AskedWh
	}
	length := a.until.Sub(a.r.Start).Seconds()
	if length <= 0 || !a.owed {
		return
	}
	rep.Coverage = math.Min(1, seconds/length)
	if target := a.targetWh(a.r.Start, a.until, asked, seconds); target > 0 {
		kwh, ratio := target/1000, capped/target
		rep.TargetKWh, rep.Ratio = &kwh, &ratio
	}
	if seconds > 0 {
		kwh, kw := delivered/1000, delivered/(seconds/3600)/1000
		rep.DeliveredKWh, rep.DeliveredKW = &kwh, &kw
	}
	const worthSaying = 2 // s
	if gap := length - seconds - a.e.HeldS; gap > worthSaying {
		rep.Shortfalls = append(rep.Shortfalls, status.Shortfall{Reason: string(plan.NotMeasured), Minutes: gap / 60})
	}
}
