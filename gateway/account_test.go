package gateway

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

// halfHour is a timeslot of 4 kW over two settlement intervals.
func halfHour(change ...func(*dispatch.Record)) dispatch.Record {
	start, kw := time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC), 4.0
	r := dispatch.Record{Timeslot: dispatch.Timeslot{EventID: "e", MeterID: "m", Start: start, End: start.Add(30 * time.Minute),
		EnergyKW: &kw, NominationKW: &kw, Cap: dispatch.UpToSiteLoad}}
	for _, c := range change {
		c(&r)
	}
	return r
}

func TestReportNeverShrinksTheTargetByWhatWasNotMeasured(t *testing.T) {
	r := halfHour()
	// Five minutes of the first interval were measured, then the gateway was
	// down, then the second was measured whole and beyond its target.
	e := event{Followed: true, Intervals: []interval{
		{Start: r.Start, AskedWh: 1000.0 / 3, DeliveredWh: 1000.0 / 3, Seconds: 300},
		{Start: r.Start.Add(15 * time.Minute), AskedWh: 1000, DeliveredWh: 1100, Seconds: 900},
	}}
	var rep status.Report
	accountOf(r, e, r.End.Add(time.Hour), plan.Policy{Basis: plan.BasisEnergy}, nil).fill(&rep)
	if got := *rep.TargetKWh; math.Abs(got-2) > 1e-9 {
		t.Errorf("target %v kWh, want the 2 kWh of the whole half hour", got)
	}
	if got := *rep.Ratio; math.Abs(got-4.0/6) > 1e-9 {
		t.Errorf("ratio %v, want (333.3 + 1000) / 2000: the excess of one interval pays for no other", got)
	}
	if math.Abs(rep.Coverage-1200.0/1800) > 1e-9 {
		t.Errorf("coverage %v, want two thirds", rep.Coverage)
	}
	if len(rep.Shortfalls) != 1 || rep.Shortfalls[0].Reason != "not-measured" || rep.Shortfalls[0].Minutes != 10 {
		t.Errorf("shortfalls %+v, want 10 minutes not measured", rep.Shortfalls)
	}
}

func TestReportOfWhatWasHeldBack(t *testing.T) {
	for reason, owed := range map[plan.Reason]bool{plan.OwnerStop: true, plan.ClockUntrusted: true,
		plan.CommTest: false, plan.PolicyVoluntary: false, plan.HigherPriority: false} {
		r, e := halfHour(), event{Suppressed: reason}
		var rep status.Report
		accountOf(r, e, r.End, plan.Policy{}, nil).fill(&rep)
		if got := rep.TargetKWh != nil; got != owed {
			t.Errorf("%s: target given %t, want %t", reason, got, owed)
		}
		if owed && (rep.Ratio == nil || *rep.Ratio != 0) {
			t.Errorf("%s: ratio %v, want 0", reason, rep.Ratio)
		}
		if s, why := outcome(dispatch.Completed, "ended", e); s != dispatch.Suppressed || why != string(reason) {
			t.Errorf("%s: final state %s, %s; want suppressed with its reason", reason, s, why)
		}
	}
	if s, _ := outcome(dispatch.Completed, "ended", event{Followed: true, Suppressed: plan.OwnerStop}); s != dispatch.Completed {
		t.Errorf("followed for a while: %s, want completed", s)
	}
}

func TestReportOfACancelledTimeslotEndsWithIt(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.Cancelled, r.CancelledAt = true, r.Start.Add(15*time.Minute) })
	e := event{Followed: true, Intervals: []interval{{Start: r.Start, AskedWh: 1000, DeliveredWh: 1000, Seconds: 900}}}
	var rep status.Report
	accountOf(r, e, r.End, plan.Policy{Basis: plan.BasisEnergy}, nil).fill(&rep)
	if *rep.TargetKWh != 1 || *rep.Ratio != 1 || rep.Coverage != 1 {
		t.Errorf("target %v, ratio %v, coverage %v; want 1 kWh, all delivered and measured", *rep.TargetKWh, *rep.Ratio, rep.Coverage)
	}
}

// A change of the award in flight is owed from then on, not from the start.
func TestReportAfterAChangeInFlight(t *testing.T) {
	r := halfHour() // 4 kW now; it was 2 kW in the first interval
	e := event{Followed: true, Intervals: []interval{
		{Start: r.Start, AskedWh: 500, DeliveredWh: 500, Seconds: 900},
		{Start: r.Start.Add(15 * time.Minute), AskedWh: 1000, DeliveredWh: 1000, Seconds: 900},
	}}
	var rep status.Report
	accountOf(r, e, r.End, plan.Policy{Basis: plan.BasisEnergy}, nil).fill(&rep)
	if *rep.TargetKWh != 1.5 || *rep.Ratio != 1 || len(rep.Shortfalls) != 0 {
		t.Errorf("target %v, ratio %v, shortfalls %v; want 1.5 kWh, all delivered", *rep.TargetKWh, *rep.Ratio, rep.Shortfalls)
	}
}
