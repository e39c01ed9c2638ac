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
