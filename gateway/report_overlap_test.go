package gateway

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/status"
)

// within is a timeslot of 4 kW that overlaps halfHour.
func within(id string, priority int, from, to time.Duration, change ...func(*dispatch.Record)) dispatch.Record {
	return halfHour(append([]func(*dispatch.Record){func(r *dispatch.Record) {
		r.EventID, r.Priority, r.Start, r.End = id, priority, r.Start.Add(from), r.Start.Add(to)
	}}, change...)...)
}

func overlapping(records ...dispatch.Record) reporter {
	return reporter{policy: plan.Policy{Basis: plan.BasisEnergy, Voluntary: plan.VoluntaryIgnore, CommunicationTest: "dry-run"},
		shown: map[string]shown{"m": {}}, schedule: dispatch.NewSchedule(records)}
}

// Ten minutes of half an hour another timeslot went before: they are neither owed
// nor counted, though the site delivered then too and the log knows its load.
func TestReportOfAnOverlapIsForItsOwnTime(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.Priority = 3 })
	tenMinutes := func(start time.Time) interval {
		return interval{Start: start, AskedWh: 4000.0 / 6, DeliveredWh: 4000.0 / 6, Seconds: 600, LoadWh: 2000.0 / 6, LoadS: 600,
			BaselineWh: 1000, LevelS: 600, Reference: plan.ByBaseline, ReasonS: map[plan.Reason]float64{plan.OnTarget: 600, plan.HigherPriority: 300}}
	}
	for _, ref := range []plan.Reference{plan.ByBaseline, plan.ByDevice} {
		e := event{Followed: true, Reference: ref, HeldS: 600, Suppressed: plan.HigherPriority, ReasonS: map[plan.Reason]float64{plan.HigherPriority: 600},
			Intervals: []interval{tenMinutes(r.Start), tenMinutes(r.Start.Add(15 * time.Minute))}}
		if ref == plan.ByBaseline {
			e.Baseline = flatBaseline(r, 6000)
		} else {
			for i := range e.Intervals {
				iv := &e.Intervals[i]
				iv.LoadWh, iv.LoadS, iv.BaselineWh, iv.LevelS, iv.Reference = 0, 0, 0, 0, ""
			}
		}
		p := overlapping(r, within("f", 2, 10*time.Minute, 20*time.Minute))
		p.loads = quarter{}
		rep := p.report(r, e, true, r.End.Add(time.Hour))
		if !approx(rep.TargetKWh, 4.0/3) || !approx(rep.DeliveredKWh, 4.0/3) || !approx(rep.Ratio, 1) || rep.Coverage != 1 || !approx(rep.NominatedKWh, 4.0/3) {
			t.Errorf("%s: target %v, delivered %v, ratio %v, coverage %v; want the 1.33 kWh of 20 minutes, met", ref, *rep.TargetKWh, *rep.DeliveredKWh, *rep.Ratio, rep.Coverage)
		}
		if len(rep.Shortfalls) != 1 || rep.Shortfalls[0].Reason != string(plan.HigherPriority) || rep.Shortfalls[0].Minutes != 10 {
			t.Errorf("%s: %+v, want ten minutes of a higher rank", ref, rep.Shortfalls)
		}
		if row := rep.Intervals[0]; math.Abs(row.TargetKW-4) > 1e-9 || !approx(row.DeliveredKW, 4) || row.Quality != qualityMeasured {
			t.Errorf("%s: row %+v, want 4 kW of 4", ref, row)
		}
	}
}

// In what is left of its time it was short of power: that is the cause, however
// long the other one ran.
func TestReportOfAnOverlapNamesItsOwnCause(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.End, r.Priority = r.Start.Add(15*time.Minute), 3 })
	reasons := map[plan.Reason]float64{plan.HigherPriority: 600, plan.ShortOfPower: 300}
	e := event{Followed: true, Reference: plan.ByDevice, ReasonS: reasons, HeldS: 600, First: interval{AskedWh: 4000.0 / 12, DeliveredWh: 100, Seconds: 300},
		Intervals: []interval{{Start: r.Start, AskedWh: 4000.0 / 12, DeliveredWh: 100, Seconds: 300, ReasonS: reasons}}}
	rep := overlapping(r, within("f", 2, 5*time.Minute, 15*time.Minute)).report(r, e, true, r.End)
	if row := rep.Intervals[0]; row.Cause != string(plan.ShortOfPower) || rep.Verdict != "Short by 0.23 kWh: 30.0 % of 0.33 kWh, mostly short-of-power (5 min)." {
		t.Errorf("cause %q, verdict %q; want short of power in both", row.Cause, rep.Verdict)
	}
	if rep.First.Coverage != 1 || !approx(&rep.First.TargetKWh, 1.0/3) {
		t.Errorf("first minutes %+v, want all five", rep.First)
	}
}

// Two timeslots of one meter overlap for 20 minutes, by the real control on the
// simulated plant: each is owed its own time, and both together are credited
// with what truly flowed, once.
func TestReportsOfAnOverlapAgreeWithTheTruth(t *testing.T) {
	begin := time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC)
	for _, ref := range []config.Reference{config.ByDevice, config.ByBaseline} {
		s := newTrueSite(t, begin, ref, 1)
		low := anHour(begin, 3)
		low.End, low.Priority = low.Start.Add(40*time.Minute), 3
		high := anHour(begin, 2)
		high.EventID, high.Start = "f", low.Start.Add(20*time.Minute)
		high.End = high.Start.Add(40 * time.Minute)
		whole := low
		whole.End = high.End
		est := risingBaseline(whole)
		s.stepped.SetSchedule([]dispatch.Record{low, high})
		if ref == config.ByBaseline {
			s.stepped.SetBaseline(low, est)
			s.stepped.SetBaseline(high, est)
		}
		s.run(high.Start.Add(10 * time.Minute))
		if err := s.stepped.Restart(); err != nil {
			t.Fatal(err)
		}
		s.run(high.End.Add(3 * time.Minute))
		for _, c := range []struct {
			r        dispatch.Record
			from, to time.Time
		}{{low, low.Start, high.Start}, {high, high.Start, high.End}} {
			rep := s.report(c.r)
			netWh, giveWh := s.truth(c.from, c.to)
			if ref == config.ByBaseline {
				giveWh = risingWh(est, c.from, c.to) - netWh
			}
			near(t, c.r.EventID+" delivered", *rep.DeliveredKWh*1000, giveWh, withinTruth)
			near(t, c.r.EventID+" target", *rep.TargetKWh*1000, *c.r.EnergyKW*1000*c.to.Sub(c.from).Hours(), 1e-6)
		}
	}
}

// Of a timeslot that nobody followed all is owed but what another one took.
func TestReportOfAMissedTimeslotOwesWhatNoOtherTook(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.Priority = 3 })
	minute := func(change ...func(*dispatch.Record)) dispatch.Record {
		return within("f", 2, 10*time.Minute, 11*time.Minute, change...)
	}
	for what, c := range map[string]struct {
		other   dispatch.Record
		minutes float64
	}{
		"a minute":                        {minute(), 29},
		"a dry test":                      {minute(func(r *dispatch.Record) { r.CommunicationTest = true }), 30},
		"one that we leave":               {minute(func(r *dispatch.Record) { r.Voluntary = true }), 30},
		"a lower rank":                    {minute(func(r *dispatch.Record) { r.Priority = 4 }), 30},
		"another meter":                   {minute(func(r *dispatch.Record) { r.MeterID = "other" }), 30},
		"cancelled":                       {minute(func(r *dispatch.Record) { r.Cancelled, r.CancelledAt = true, r.Start }), 30},
		"seen when half of it had passed": {minute(func(r *dispatch.Record) { r.FirstSeen = r.Start.Add(30 * time.Second) }), 29.5},
		"all but a minute":                {within("f", 2, 0, 29*time.Minute), 1},
		"all of it":                       {within("f", 2, -time.Hour, time.Hour), 0},
	} {
		for how, e := range map[string]event{"off": {}, "outranked at the last": {EventID: "e", Suppressed: plan.HigherPriority}} {
			rep := overlapping(r, c.other).report(r, e, e.EventID != "", r.End.Add(time.Hour))
			got := 0.0
			if rep.TargetKWh != nil {
				got = *rep.TargetKWh
			}
			if how != "off" && len(overlapping(r, c.other).outranked(&r)) == 0 {
				continue // the schedule does not say so any more
			}
			if math.Abs(got-4*c.minutes/60) > 1e-9 {
				t.Errorf("%s, %s: %v kWh owed, want those of %v min", what, how, got, c.minutes)
			}
		}
	}
}

// Under max-paid the devices give all they can; what is owed is the award, also
// for the ten minutes that were not measured.
func TestReportUnderMaxPaidOwesTheAward(t *testing.T) {
	r := halfHour()
	e := event{Start: r.Start, End: r.End, Followed: true, Reference: plan.ByDevice, ReasonS: map[plan.Reason]float64{}, DeviceWh: map[string]float64{}}
	md := plan.MeterDecision{TargetW: 9000, OwedW: drivers.Some(4000), DeliveredW: drivers.Some(7000), Reason: plan.OnTarget}
	for at := r.Start; at.Before(r.Start.Add(20 * time.Minute)); at = at.Add(time.Second) {
		e.book(&md, nil, drivers.Opt{}, at, time.Second)
	}
	p := reporter{policy: plan.Policy{Basis: plan.BasisMaxPaid}}
	if rep := p.report(r, e, true, r.End); !approx(rep.TargetKWh, 2) || !approx(rep.Ratio, (1000+7000.0/12)/2000) || !approx(rep.DeliveredKWh, 7.0/3) {
		t.Errorf("target %v, ratio %v, delivered %v; want 2 kWh, 1 and 0.58 kWh of it, 2.33 kWh", *rep.TargetKWh, *rep.Ratio, *rep.DeliveredKWh)
	}
}

// In an interval in which the load before the timeslot stops to count, what was
// delivered is what the rounds had: against that load, then the devices' power.
func TestReportOfAnIntervalInWhichTheLevelFades(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.End = r.Start.Add(15 * time.Minute) })
	e := event{Followed: true, Reference: plan.ByDevice, Intervals: []interval{{Start: r.Start, AskedWh: 1000, DeliveredWh: 1000, Seconds: 900,
		LoadWh: 200*0.1 + 900*0.15, LoadS: 900, BaselineWh: 500, LevelS: 600, Reference: plan.Relative}}}
	if row := (reporter{}).report(r, e, true, r.End).Intervals[0]; !approx(row.DeliveredKW, 4) || row.BaselineKW != nil || row.Coverage != 1 {
		t.Errorf("%+v, want the 4 kW of the rounds", row)
	}
}

// A timeslot that is cut short after ten minutes were booked: what devices gave
// and what held are scaled like its target.
func TestReportOfATimeslotCutShortScalesItsParts(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.End = r.Start.Add(5 * time.Minute) })
	e := event{Followed: true, Reference: plan.ByDevice, DeviceWh: map[string]float64{"battery": 600}, ReasonS: map[plan.Reason]float64{plan.ShortOfPower: 600},
		Intervals: []interval{{Start: r.Start, AskedWh: 4000.0 / 6, DeliveredWh: 600, Seconds: 600,
			DeviceWh: map[string]float64{"battery": 600}, ReasonS: map[plan.Reason]float64{plan.ShortOfPower: 600}}}}
	rep := reporter{}.report(r, e, true, r.End.Add(time.Hour))
	if !approx(rep.DeliveredKWh, 0.3) || math.Abs(rep.Devices[0].DeliveredWh-300) > 1e-9 || math.Abs(rep.Intervals[0].Devices[0].DeliveredWh-300) > 1e-9 {
		t.Errorf("delivered %v kWh, devices %+v; want 300 Wh in all three places", *rep.DeliveredKWh, rep.Devices)
	}
	if len(rep.Shortfalls) != 1 || rep.Shortfalls[0].Minutes != 5 {
		t.Errorf("%+v, want five minutes short of power", rep.Shortfalls)
	}
}

// A STOP in the second quarter is why that is short, in its row as in the report.
func TestReportNamesAStopInItsRow(t *testing.T) {
	r := halfHour()
	es := newEvents()
	es.byID["e"] = &event{EventID: "e", MeterID: "m", Start: r.Start, End: r.End, Followed: true, Reference: plan.ByDevice,
		ReasonS: map[plan.Reason]float64{}, DeviceWh: map[string]float64{},
		Intervals: []interval{{Start: r.Start, AskedWh: 1000, DeliveredWh: 1000, Seconds: 900}}}
	for at := r.Start.Add(15 * time.Minute); at.Before(r.End); at = at.Add(time.Second) {
		es.account(plan.Decision{Now: at, Slots: []plan.SlotDecision{{EventID: "e", MeterID: "m", State: dispatch.Suppressed, Reason: plan.OwnerStop}}},
			plan.Input{Now: at.Add(time.Second)})
		if at.Second() == 30 { // a restart in the middle
			raw := es.unsaved(true)["e"]
			es = newEvents()
			if err := es.restore(raw, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	e, _ := es.get("e")
	rep := reporter{policy: plan.Policy{Basis: plan.BasisEnergy}}.report(r, e, true, r.End)
	if row := rep.Intervals[1]; row.Cause != string(plan.OwnerStop) || row.ShortfallWh != 1000 {
		t.Errorf("%+v, want it short of 1000 Wh for a STOP", row)
	}
	if want := []status.Shortfall{shortfall(plan.OwnerStop, 900)}; len(rep.Shortfalls) != 1 || rep.Shortfalls[0] != want[0] {
		t.Errorf("%+v, want 15 min of STOP and nothing else", rep.Shortfalls)
	}
}
