package gateway

import (
	"encoding/json"
	"log/slog"
	"math"
	"reflect"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/gateway/loadlog"
	"nominald/gateway/status"
	"nominald/gateway/store"
)

// flatBaseline is an estimate of one level over the half hour of halfHour.
func flatBaseline(r dispatch.Record, w float64) *baseline.Estimate {
	return &baseline.Estimate{Method: baseline.CAISO10in10, Start: r.Start, Interval: baseline.Interval, W: []float64{w, w, w, w}, Factor: 1, Coverage: 1}
}

func approx(got *float64, want float64) bool { return got != nil && math.Abs(*got-want) < 1e-6 }

// Baseline 6 kW, load 3 and 1 kW, 4 kW nominated: 3 and 5 kW delivered, of
// which 3 and 4 count; 1 kW short in the first quarter.
//
//	delivered 750 + 1250 = 2000 Wh, paid 750 + 1000 = 1750, short 250, ratio 1750 / 2000
func TestReportDoesTheSumOfItsIntervals(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.Cap = dispatch.UpToNomination })
	e := event{Followed: true, Reference: plan.ByBaseline, Baseline: flatBaseline(r, 6000), ActiveSince: r.Start.Add(7 * time.Second),
		ReasonS: map[plan.Reason]float64{plan.ShortOfPower: 900, plan.OnTarget: 900}, DeviceWh: map[string]float64{"battery": 2000},
		First: interval{AskedWh: 4000.0 / 12, DeliveredWh: 250, Seconds: 300},
		Intervals: []interval{
			{Start: r.Start, AskedWh: 1000, DeliveredWh: 700, Seconds: 900, LoadWh: 750, LoadS: 900, BaselineWh: 1500, LevelS: 900, Reference: plan.ByBaseline,
				ReasonS: map[plan.Reason]float64{plan.ShortOfPower: 900}, DeviceWh: map[string]float64{"battery": 750}},
			{Start: r.Start.Add(15 * time.Minute), AskedWh: 1000, DeliveredWh: 1250, Seconds: 900, LoadWh: 250, LoadS: 900, BaselineWh: 1500, LevelS: 900, Reference: plan.ByBaseline,
				ReasonS: map[plan.Reason]float64{plan.OnTarget: 900}},
		}}
	rep := reporter{policy: plan.Policy{Basis: plan.BasisEnergy}}.report(r, e, true, r.End.Add(time.Hour))
	for what, c := range map[string]struct {
		got  *float64
		want float64
	}{"delivered": {rep.DeliveredKWh, 2}, "paid": {rep.PaidKWh, 1.75}, "short": {rep.ShortfallKWh, 0.25}, "ratio": {rep.Ratio, 0.875}, "cap": {rep.CapKWh, 2},
		"nominated": {rep.NominatedKWh, 2}, "awarded": {rep.AwardedKWh, 2}, "baseline": {rep.BaselineKWh, 3}, "load": {rep.LoadKWh, 1}, "late": {rep.LateS, 7},
		"target kW": {&rep.Intervals[0].TargetKW, 4}, "delivered kW": {rep.Intervals[0].DeliveredKW, 3}, "load kW": {rep.Intervals[1].LoadKW, 1},
		"first target": {&rep.First.TargetKWh, 1.0 / 3}, "first delivered": {&rep.First.DeliveredKWh, 0.25}, "worst": {&rep.Worst.Ratio, 0.75}} {
		if !approx(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", what, c.got, c.want)
		}
	}
	if !rep.Worst.Start.Equal(r.Start) || rep.Intervals[0].Cause != string(plan.ShortOfPower) || rep.Intervals[1].Cause != "" {
		t.Errorf("worst %v, causes %q and %q; want the first interval, short of power", rep.Worst, rep.Intervals[0].Cause, rep.Intervals[1].Cause)
	}
	if s := rep.Shortfalls; len(s) != 1 || s[0].Minutes != 15 || s[0].Text == "" || s[0].Action == "" {
		t.Errorf("shortfalls %+v, want 15 min short of power, with what to do", s)
	}
	if want := "Short by 0.25 kWh: 87.5 % of 2.00 kWh, mostly short-of-power (15 min)."; rep.Verdict != want {
		t.Errorf("verdict %q, want %q", rep.Verdict, want)
	}
}

// The caps of domain.md 2.2 on one quarter with a baseline of 1500 Wh and a
// load of -250 Wh: 1750 Wh delivered.
func TestReportCountsAsTheCapAllows(t *testing.T) {
	for c, want := range map[dispatch.Cap]float64{dispatch.UpToNomination: 1000, dispatch.UpToSiteLoad: 1500, dispatch.GridExportsAllowed: 1750, "a-new-one": 1000} {
		r := halfHour(func(r *dispatch.Record) { r.Cap, r.End = c, r.Start.Add(15*time.Minute) })
		e := event{Followed: true, Reference: plan.ByBaseline, Baseline: flatBaseline(r, 6000), Intervals: []interval{
			{Start: r.Start, AskedWh: 1000, DeliveredWh: 1750, Seconds: 900, LoadWh: -250, LoadS: 900, BaselineWh: 1500, LevelS: 900, Reference: plan.ByBaseline}}}
		rep := reporter{}.report(r, e, true, r.End)
		if !approx(rep.PaidKWh, want/1000) || !approx(rep.DeliveredKWh, 1.75) {
			t.Errorf("%s: paid %v of %v kWh, want %v Wh", c, rep.PaidKWh, rep.DeliveredKWh, want)
		}
		device := reporter{}.report(r, event{Followed: true, Reference: plan.ByDevice, Intervals: []interval{
			{Start: r.Start, AskedWh: 1000, DeliveredWh: 1750, Seconds: 900, LoadWh: -250, LoadS: 900}}}, true, r.End)
		if !approx(device.PaidKWh, want/1000) || device.BaselineKWh != nil {
			t.Errorf("%s, device: paid %v kWh against %v, want %v Wh and no baseline", c, device.PaidKWh, device.BaselineKWh, want)
		}
	}
}

// A quarter in which the gateway was off has a row, and says so.
func TestReportHasARowForWhatWasNotMeasured(t *testing.T) {
	r := halfHour(func(r *dispatch.Record) { r.Start = r.Start.Add(10 * time.Minute) }) // 5 and 15 minutes
	e := event{Followed: true, Reference: plan.ByDevice, Intervals: []interval{{Start: r.Start.Truncate(15 * time.Minute), AskedWh: 4000.0 / 12, DeliveredWh: 300, Seconds: 300}}}
	rep := reporter{}.report(r, e, true, r.End)
	if len(rep.Intervals) != 2 {
		t.Fatalf("intervals %+v, want two", rep.Intervals)
	}
	first, second := rep.Intervals[0], rep.Intervals[1]
	if !first.Start.Equal(r.Start) || math.Abs(first.TargetWh-4000.0/12) > 1e-9 || first.Quality != qualityMeasured || !approx(first.NominatedWh, 4000.0/12) {
		t.Errorf("first interval %+v, want five minutes", first)
	}
	if second.Quality != qualityGap || second.Cause != string(plan.NotMeasured) || second.ShortfallWh != 1000 || second.DeliveredKW != nil {
		t.Errorf("second interval %+v, want a gap that is owed in full", second)
	}
	if rep.Quality != qualityGap || math.Abs(rep.Coverage-0.25) > 1e-9 {
		t.Errorf("quality %q, coverage %v; want a gap and a quarter", rep.Quality, rep.Coverage)
	}
}

func TestEveryReasonForLessHasAdvice(t *testing.T) {
	for _, r := range []plan.Reason{plan.Idle, plan.Releasing, plan.OwnerStop, plan.ClockUntrusted, plan.IntegrationTest, plan.CommTest,
		plan.PolicyVoluntary, plan.MissingDropped, plan.HigherPriority, plan.NotOurMeter, plan.NoCapacity, plan.ShortOfPower, plan.ShortOfEnergy,
		plan.ExportLimited, plan.SiteLoadZero, plan.MeterStale, plan.MeterUnknown, plan.Behind, plan.UnderDelivered, plan.NotMeasured} {
		if advice()[r] == "" {
			t.Errorf("%s has no advice", r)
		}
	}
	for r := range advice() {
		if plan.ReasonText(r) == "" {
			t.Errorf("there is advice for %s, which is no reason", r)
		}
	}
}

// kept is a gateway's store, events and load log with one timeslot that ended.
type kept struct {
	Gateway
	archivist
	slot dispatch.Record
	now  time.Time
}

func newKept(t *testing.T) *kept {
	t.Helper()
	st, _, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	k := &kept{slot: halfHour()}
	k.now = k.slot.End.Add(2 * time.Minute)
	k.Gateway.events, k.Gateway.store = newEvents(), st
	k.Gateway.schedule.Store(dispatch.NewSchedule([]dispatch.Record{k.slot}))
	loads := loadlog.New(loadlog.Options{Store: st})
	for at := k.slot.Start.Add(-time.Minute); at.Before(k.now); at = at.Add(time.Second) {
		loads.Add(at, loadlog.Site, 2000, loadlog.Measured)
	}
	k.Gateway.events.byID["e"] = &event{EventID: "e", MeterID: "m", Start: k.slot.Start, End: k.slot.End, Followed: true,
		Reference: plan.ByBaseline, Baseline: flatBaseline(k.slot, 6000), DeviceWh: map[string]float64{}, ReasonS: map[plan.Reason]float64{},
		Intervals: []interval{{Start: k.slot.Start, AskedWh: 1000, DeliveredWh: 1000, Seconds: 900}, {Start: k.slot.Start.Add(15 * time.Minute), AskedWh: 1000, DeliveredWh: 1000, Seconds: 900}}}
	k.archivist = archivist{events: k.Gateway.events, schedule: &k.Gateway.schedule, reporter: reporter{loads: loads},
		now: func() time.Time { return k.now }, trusted: func() bool { return true }, log: slog.New(slog.DiscardHandler)}
	return k
}

// read is the report as the store has it, without the schedule, the memory and
// the load log.
func (k *kept) read(t *testing.T) status.Report {
	t.Helper()
	if err := k.Gateway.store.AppendRows(eventsBucket, k.Gateway.events.unsaved(true)); err != nil {
		t.Fatal(err)
	}
	later := &Gateway{events: newEvents(), store: k.Gateway.store}
	later.schedule.Store(dispatch.NewSchedule(nil))
	rep, ok := later.Report("e")
	if !ok {
		t.Fatal("the report is gone with the load log")
	}
	return rep
}

func TestReportIsKeptAfterTheEndAndOutlivesTheLoadLog(t *testing.T) {
	k := newKept(t)
	k.now = k.slot.End.Add(30 * time.Second)
	k.round()
	if e, _ := k.Gateway.events.get("e"); e.Frozen != nil {
		t.Fatal("fixed before the last measurements can be in")
	}
	k.now = k.slot.End.Add(2 * time.Minute)
	k.round()
	rep := k.read(t)
	if rep.Revision != 1 || rep.FrozenAt.IsZero() || !approx(rep.DeliveredKWh, 2) || !approx(rep.LoadKWh, 1) || rep.Quality != qualityMeasured || len(rep.Intervals) != 2 {
		t.Errorf("stored report %+v, want revision 1: 2 kWh delivered, 1 kWh drawn", rep)
	}
	k.round()
	if again := k.read(t); !reflect.DeepEqual(again, rep) {
		t.Errorf("a fixed report changed by itself: %+v, was %+v", again, rep)
	}
}

func TestReportIsRevisedByABetterBaselineAlone(t *testing.T) {
	k := newKept(t)
	k.round()
	more := 9.0
	changed := k.slot
	changed.NominationKW, changed.EnergyKW = &more, &more
	k.Gateway.schedule.Store(dispatch.NewSchedule([]dispatch.Record{changed}))
	k.round()
	if rep := k.read(t); rep.Revision != 1 || *rep.NominatedKW != 4 {
		t.Errorf("after a change of the award that came too late: revision %d, nominated %v; want the report as it was", rep.Revision, *rep.NominatedKW)
	}
	k.Gateway.events.setBaseline(k.slot, flatBaseline(k.slot, 5000))
	k.round()
	rep := k.read(t)
	if rep.Revision != 2 || !approx(rep.DeliveredKWh, 1.5) || rep.Baseline.W[0] != 5000 || len(rep.Revisions) != 1 || !approx(rep.Revisions[0].DeliveredKWh, 2) {
		t.Errorf("after another baseline: %+v, want revision 2 with 1.5 kWh and what it was before", rep)
	}
}

// The meter was dead for the second quarter and its counters fill that in five
// minutes after the end: the report is counted once more.
func TestReportIsRevisedByLoadThatComesInAfterwards(t *testing.T) {
	k := newKept(t)
	log := loadlog.New(loadlog.Options{Store: k.Gateway.store})
	k.archivist.reporter.loads = log
	back := k.slot.End.Add(5 * time.Minute)
	dead := func(at time.Time) bool { return !at.Before(k.slot.Start.Add(15*time.Minute)) && at.Before(back) }
	k.Gateway.events.byID["e"].Intervals = []interval{
		{Start: k.slot.Start, AskedWh: 1000, DeliveredWh: 1000, Seconds: 900, LoadWh: 500, LoadS: 900, BaselineWh: 1500, LevelS: 900, Reference: plan.ByBaseline},
		{Start: k.slot.Start.Add(15 * time.Minute), AskedWh: 1000, DeliveredWh: 900, Seconds: 900}} // by the devices
	feed := func(from, to time.Time) {
		for at := from; at.Before(to); at = at.Add(time.Second) {
			if !dead(at) {
				log.Add(at, loadlog.Site, 2000, loadlog.Measured)
				log.Count(at, loadlog.Site, 1e6+2000*at.Sub(k.slot.Start).Hours(), 0)
			}
		}
	}
	feed(k.slot.Start.Add(-time.Minute), k.slot.End.Add(2*time.Minute))
	k.round()
	rep := k.read(t)
	if rep.Revision != 1 || rep.Intervals[1].Reference != string(plan.ByDevice) || !approx(rep.Intervals[1].DeliveredKW, 3.6) {
		t.Fatalf("at first: revision %d, %+v; want what the devices gave", rep.Revision, rep.Intervals[1])
	}
	k.now = back.Add(3 * time.Minute)
	feed(back, k.now)
	k.round()
	if rep = k.read(t); rep.Revision != 1 {
		t.Errorf("counted again after %v already", k.now.Sub(back))
	}
	if err := log.Flush(); err != nil { // the hour is written
		t.Fatal(err)
	}
	k.now = k.slot.End.Add(20 * time.Minute)
	k.round()
	rep = k.read(t)
	row := rep.Intervals[1]
	if rep.Revision != 2 || row.Reference != string(plan.ByBaseline) || row.DeliveredKW == nil || math.Abs(*row.DeliveredKW-4) > 0.02 || row.Quality != "recovered" || rep.Revisions[0].Replaced == "" {
		t.Errorf("with the counters: revision %d, %+v, %+v; want 6 kW less the 2 that were drawn", rep.Revision, row, rep.Revisions)
	}
	k.now = k.slot.End.Add(40 * time.Minute)
	k.round()
	if again := k.read(t); again.Revision != 2 {
		t.Errorf("revision %d without anything new", again.Revision)
	}
}

// An extension after the end makes the fixed report void until the new end.
func TestReportOfAnExtendedTimeslotMovesAgain(t *testing.T) {
	k := newKept(t)
	k.round()
	longer := k.slot
	longer.End = k.slot.End.Add(15 * time.Minute)
	e, _ := k.Gateway.events.get("e")
	if e.Frozen.holds(longer) || !e.Frozen.holds(k.slot) {
		t.Error("a report of half an hour passes for one of 45 minutes")
	}
}

// TestReportOfAnEarlierVersion: what an earlier version stored still reads.
func TestReportOfAnEarlierVersion(t *testing.T) {
	r := halfHour()
	raw := `{"event_id":"e","meter_id":"m","start":"2026-07-21T23:00:00Z","end":"2026-07-21T23:30:00Z","begun":"2026-07-21T22:59:00Z","reference":"device","pre_load_w":null,
		"pre_start":"2026-07-21T23:00:00Z","normal_w":{},"intervals":[{"start":"2026-07-21T23:00:00Z","target_wh":1000,"asked_wh":1000,"delivered_wh":990,"seconds":900},
		{"start":"2026-07-21T23:15:00Z","target_wh":1000,"asked_wh":1000,"delivered_wh":1000,"seconds":900}],"followed":true,"device_wh":{"battery":1990},"reason_s":{"on-target":1800},"last_target_w":4000,"held_s":0}`
	e, err := decodeEvent([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	rep := reporter{}.report(r, e, true, r.End)
	if !approx(rep.DeliveredKWh, 1.99) || !approx(rep.LateS, 0) || rep.First != nil || rep.Coverage != 1 || len(rep.Shortfalls) != 0 {
		t.Errorf("report %+v, want 1.99 kWh from the first second", rep)
	}
	if _, err := json.Marshal(rep); err != nil {
		t.Error(err)
	}
}
