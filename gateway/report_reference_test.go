package gateway

import (
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/status"
	"nominald/gateway/store"
)

// The meter falls silent for the last quarter: the rounds then go by the
// devices. The first quarter was still measured against its baseline, and the
// report shows that baseline.
func TestReportKeepsItsBaselineWhereTheMeterEndsSilent(t *testing.T) {
	r := halfHour()
	e := event{Followed: true, Reference: plan.ByDevice, Baseline: flatBaseline(r, 6000), Intervals: []interval{
		{Start: r.Start, AskedWh: 1000, DeliveredWh: 700, Seconds: 900, LoadWh: 750, LoadS: 900, BaselineWh: 1500, LevelS: 900, Reference: plan.ByBaseline},
		{Start: r.Start.Add(15 * time.Minute), AskedWh: 1000, DeliveredWh: 900, Seconds: 900}}}
	rep := reporter{}.report(r, e, true, r.End)
	if rep.Baseline == nil || rep.Reference != string(plan.ByBaseline) {
		t.Fatalf("measured against %s with baseline %v; want the baseline that the first quarter had", rep.Reference, rep.Baseline)
	}
	first, second := rep.Intervals[0], rep.Intervals[1]
	if !approx(first.BaselineKW, 6) || !approx(first.DeliveredKW, 3) {
		t.Errorf("first quarter %+v, want 6 kW less 3", first)
	}
	if !approx(second.DeliveredKW, 3.6) || second.Reference != string(plan.ByDevice) || second.BaselineKW != nil {
		t.Errorf("second quarter %+v, want what the devices gave", second)
	}
}

// A power cut over a whole timeslot: it is owed in full, whether it had been
// prepared already or not. What was never to be carried out owes nothing.
func TestReportOfATimeslotThatNobodyFollowed(t *testing.T) {
	p := reporter{policy: plan.Policy{Basis: plan.BasisEnergy, Voluntary: plan.VoluntaryFollow, CommunicationTest: "dry-run"}, shown: map[string]shown{"m": {}}}
	r := halfHour()
	armed := event{EventID: r.EventID, MeterID: r.MeterID, Start: r.Start, End: r.End, Baseline: flatBaseline(r, 6000), Reference: plan.ByBaseline}
	for what, rep := range map[string]status.Report{"off": p.report(r, event{}, false, r.End.Add(time.Hour)), "off since it was prepared": p.report(r, armed, true, r.End.Add(time.Hour))} {
		if !approx(rep.TargetKWh, 2) || !approx(rep.Ratio, 0) || !approx(rep.ShortfallKWh, 2) || rep.DeliveredKWh != nil || len(rep.Intervals) != 2 || rep.Quality != qualityGap {
			t.Errorf("%s: %+v, want 2 kWh owed and nothing measured", what, rep)
		}
		if len(rep.Shortfalls) != 1 || rep.Shortfalls[0].Reason != string(plan.NotMeasured) || rep.Shortfalls[0].Minutes != 30 || rep.Verdict != "Nothing was delivered or measured of 2.00 kWh." {
			t.Errorf("%s: %+v, %q, want 30 min not measured", what, rep.Shortfalls, rep.Verdict)
		}
	}
	for what, change := range map[string]func(*dispatch.Record){
		"another's meter":     func(r *dispatch.Record) { r.MeterID = "other" },
		"a test":              func(r *dispatch.Record) { r.IntegrationTest = true },
		"a dry test":          func(r *dispatch.Record) { r.CommunicationTest = true },
		"first seen too late": func(r *dispatch.Record) { r.FirstSeen = r.End.Add(time.Minute) },
		"not to be read":      func(r *dispatch.Record) { r.Problem = "energy_kw is a word" },
		"cancelled":           func(r *dispatch.Record) { r.Cancelled, r.CancelledAt = true, r.Start.Add(-time.Hour) },
	} {
		if rep := p.report(halfHour(change), event{}, false, r.End.Add(time.Hour)); rep.TargetKWh != nil || len(rep.Intervals) != 0 {
			t.Errorf("%s: %+v, want nothing owed", what, rep)
		}
	}
}

// Of two that passed at the same time the higher-ranked one is owed.
func TestReportOfOverlappingTimeslotsThatNobodyFollowed(t *testing.T) {
	g := &Gateway{cfg: &config.Config{Meters: []config.Meter{{ID: "m"}}}, events: newEvents()}
	first, second := halfHour(func(r *dispatch.Record) { r.Priority = 2 }), halfHour(func(r *dispatch.Record) { r.EventID, r.Priority = "f", 3 })
	st, _, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	g.clock = newClock(st)
	g.store, g.loads = st, loadlog.New(loadlog.Options{Store: st})
	g.cfg.Policy.Voluntary = plan.VoluntaryFollow
	g.schedule.Store(dispatch.NewSchedule([]dispatch.Record{first, second}))
	for id, owed := range map[string]bool{"e": true, "f": false} {
		rep, ok := g.Report(id)
		if !ok || (rep.TargetKWh != nil) != owed {
			t.Errorf("%s: %+v, want it owed: %v", id, rep, owed)
		}
	}
}

// A battery that is settled at itself, under a program that takes 0.1 kW per
// kWh for granted: 1.35 kW of 13.5 kWh. What counts is what it truly gave
// beyond that; the site's load has no part in it.
func TestReportOfADeviceWithABaselineOfItsOwnAgreesWithTheTruth(t *testing.T) {
	begin := time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC)
	s := newTrueSite(t, begin, config.ByBaseline, 1)
	m := &s.stepped.opts.Config.Meters[0]
	m.Type, m.MeasuredBy, m.Baseline, m.PerKWh = config.DeviceMeter, "battery", baseline.DSGSOption3, make([]float64, 24)
	for hour := range m.PerKWh {
		m.PerKWh[hour] = 0.1
	}
	p, ok := s.stepped.opts.Config.Method(*m)
	if !ok {
		t.Fatal("the meter has no method")
	}
	r := anHour(begin, 2)
	est, err := baseline.Compute(p, time.UTC, baseline.Event{Start: r.Start, End: r.End}, history{s.stepped.control.loads, shownBy(s.stepped.opts.Config, *m)})
	if err != nil {
		t.Fatal(err)
	}
	s.stepped.SetSchedule([]dispatch.Record{r})
	s.stepped.SetBaseline(r, est)
	s.run(r.End.Add(3 * time.Minute))
	rep := s.report(r)
	_, giveWh := s.truth(r.Start, r.End)
	laidDownWh := 1350 * r.End.Sub(r.Start).Hours()
	near(t, "delivered", *rep.DeliveredKWh*1000, giveWh-laidDownWh, withinTruth)
	near(t, "load", *rep.LoadKWh*1000, 0-giveWh, withinTruth)
	if *rep.Ratio < 0.98 || rep.Reference != string(plan.ByBaseline) || rep.Baseline == nil || rep.Baseline.Method != baseline.DSGSOption3 {
		t.Errorf("ratio %v against %s %v; want the target met beyond what is laid down", *rep.Ratio, rep.Reference, rep.Baseline)
	}
}

// quarter is a log in which the site draws 3 kW and the battery gives 2.
type quarter struct{}

func (quarter) Mean(channel string, _, _ time.Time) (float64, float64, error) {
	return map[string]float64{loadlog.Site: 3000, "battery": 2000}[channel], 1, nil
}

func (quarter) Query(time.Time, time.Time, time.Duration, func(loadlog.Row) error, ...string) error {
	return nil
}

// The rounds of a quarter are missing, the log has it: the battery gave 2 kW,
// 1.35 of them for granted. Up to the site's load counts: 3 kW and what the
// battery gave, not the battery's own.
func TestReportOfADeviceReadsItsOwnChannel(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.Cap = dispatch.UpToSiteLoad; r.End = r.Start.Add(15 * time.Minute) })
	e := event{Followed: true, Reference: plan.ByBaseline, Baseline: flatBaseline(r, -1350), DeviceWh: map[string]float64{"battery": 500}, Intervals: []interval{
		{Start: r.Start, DeviceWh: map[string]float64{"battery": 500}}}}
	p := reporter{loads: quarter{}, shown: map[string]shown{r.MeterID: {channel: "battery", battery: true}}}
	row := p.report(r, e, true, r.End).Intervals[0]
	if !approx(row.LoadKW, -2) || !approx(row.BaselineKW, -1.35) || !approx(row.DeliveredKW, 0.65) || !approx(row.CapWh, 750+500) {
		t.Errorf("load %v, baseline %v, delivered %v kW, cap %v Wh; want -2, -1.35, 0.65 and 1250", *row.LoadKW, *row.BaselineKW, *row.DeliveredKW, *row.CapWh)
	}
}

// What a meter is compared by: the site, unless it is settled at a device with
// a baseline of its own.
func TestShownBy(t *testing.T) {
	cfg := &config.Config{Devices: []config.Device{{Name: "main", Kind: drivers.Meter}, {Name: "battery", Kind: drivers.Battery}, {Name: "wallbox", Kind: drivers.Charger}}}
	for _, c := range []struct {
		m    config.Meter
		want shown
	}{
		{config.Meter{Type: config.UtilityMeter, Reference: config.ByBaseline, MeasuredBy: "main"}, shown{}},
		{config.Meter{Type: config.DeviceMeter, Reference: config.ByDevice, MeasuredBy: "battery"}, shown{}},
		{config.Meter{Type: config.DeviceMeter, Reference: config.ByBaseline, MeasuredBy: "battery"}, shown{"battery", true}},
		{config.Meter{Type: config.DeviceMeter, Reference: config.ByBaseline, MeasuredBy: "wallbox"}, shown{"wallbox", false}},
	} {
		if got := shownBy(cfg, c.m); got != c.want {
			t.Errorf("%+v: got %+v, want %+v", c.m, got, c.want)
		}
	}
}

// The meter falls silent in a quarter of 4 kW, the devices go on as they did:
// they gave 4 kW, and the meter showed 6 kW less 4 until then. For some minutes
// the rounds still go by the level. Whatever the second, all of it counts; and
// once the log knows the load of all of it, that alone does.
func TestReportOfAMeterThatFallsSilentInAQuarter(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.End = r.Start.Add(15 * time.Minute) })
	for silent, label := range map[float64]plan.Reference{120: plan.ByDevice, 180: plan.ByDevice, 420: plan.ByDevice, 600: plan.ByBaseline, 880: plan.ByBaseline} {
		level := min(900, silent+300)
		e := event{Followed: true, Reference: plan.ByBaseline, Baseline: flatBaseline(r, 6000), Intervals: []interval{
			{Start: r.Start, AskedWh: 1000, DeliveredWh: 1000, Seconds: 900, LoadWh: 2000 * silent / 3600, LoadS: silent,
				BaselineWh: 6000 * level / 3600, LevelS: level, Reference: plan.ByBaseline, DeviceWh: map[string]float64{"battery": 1000}}}}
		row := reporter{}.report(r, e, true, r.End).Intervals[0]
		if !approx(row.DeliveredKW, 4) || row.Coverage != 1 || row.Reference != string(label) {
			t.Errorf("silent from %v s: %v kW over %v against %s; want 4 kW over all, against %s", silent, *row.DeliveredKW, row.Coverage, row.Reference, label)
		}
		if !approx(row.CapWh, 1500) {
			t.Errorf("silent from %v s: at most %v Wh count, want the 1500 that the site would draw", silent, *row.CapWh)
		}
		row = reporter{loads: quarter{}}.report(r, e, true, r.End).Intervals[0]
		if !approx(row.DeliveredKW, 3) || !approx(row.LoadKW, 3) || row.Reference != string(plan.ByBaseline) {
			t.Errorf("silent from %v s, later known to have drawn 3 kW: %v kW against %s; want 3 against the baseline", silent, *row.DeliveredKW, row.Reference)
		}
	}
}

// A timeslot that is moved or cut short after it began has a target for the time
// that it has left, not for all that was booked.
func TestReportOfATimeslotThatMovedHasNoMoreTargetThanTime(t *testing.T) {
	booked := interval{Start: halfHour().Start, AskedWh: 4000.0 / 6, DeliveredWh: 4000.0 / 6, Seconds: 600}
	for what, change := range map[string]func(*dispatch.Record){
		"ended at 23:05":           func(r *dispatch.Record) { r.End = r.Start.Add(5 * time.Minute) },
		"moved to 23:10 for 5 min": func(r *dispatch.Record) { r.Start, r.End = r.Start.Add(10*time.Minute), r.Start.Add(15*time.Minute) },
	} {
		rep := reporter{}.report(halfHour(change), event{Followed: true, Reference: plan.ByDevice, Intervals: []interval{booked}}, true, halfHour().End)
		if len(rep.Intervals) != 1 || !approx(rep.TargetKWh, 1.0/3) || !approx(rep.DeliveredKWh, 1.0/3) || !approx(rep.Ratio, 1) {
			t.Errorf("%s: %+v, want a third of a kWh asked and given", what, rep)
		}
	}
}

// One that Leap sent when half of it had passed is settled from then (domain.md
// 2.2, "late arrival"), and says how late it was.
func TestReportOfALateArrival(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.FirstSeen = r.Start.Add(20 * time.Minute) })
	e := event{Followed: true, Reference: plan.ByDevice, ActiveSince: r.FirstSeen, Intervals: []interval{
		{Start: r.Start.Add(15 * time.Minute), AskedWh: 4000.0 / 6, DeliveredWh: 4000.0 / 6, Seconds: 600}}}
	rep := reporter{}.report(r, e, true, r.End)
	if !approx(rep.TargetKWh, 4.0/6) || !approx(rep.Ratio, 1) || len(rep.Intervals) != 1 || !rep.Intervals[0].Start.Equal(r.FirstSeen) || !approx(rep.LateS, 1200) || len(rep.Shortfalls) != 0 {
		t.Errorf("%+v, want ten minutes that are met, 20 min late", rep)
	}
}

// Before its start a timeslot that is prepared has no rows, wherever it begins.
func TestReportBeforeTheStartHasNoRows(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.Start = r.Start.Add(5 * time.Minute) })
	cancelled := r
	cancelled.Cancelled, cancelled.CancelledAt = true, r.Start.Add(-time.Minute)
	e := event{Start: r.Start, End: r.End}
	for what, rep := range map[string]status.Report{"prepared": reporter{}.report(r, e, true, r.Start.Add(-2*time.Minute)), "cancelled": reporter{}.report(cancelled, e, true, r.End)} {
		if len(rep.Intervals) != 0 || rep.TargetKWh != nil {
			t.Errorf("%s: %+v, want no rows", what, rep.Intervals)
		}
	}
}
