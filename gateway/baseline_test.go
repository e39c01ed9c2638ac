package gateway

import (
	"log/slog"
	"maps"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/store"
)

// historied is a site with 16 days of measured load on disk: 1000 W, and on the
// 20th, the day before the timeslots, 3000 W.
type historied struct {
	baseliner
	slot dispatch.Record
}

const historiedMeter = "afce893d-ea68-487f-9f8c-778b1881f60a"

func newHistoried(t *testing.T) *historied {
	t.Helper()
	return newHistoriedUntil(t, time.Hour)
}

// newHistoriedUntil is one whose load is known until so long before the timeslot.
func newHistoriedUntil(t *testing.T, before time.Duration) *historied {
	t.Helper()
	st, _, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	start := time.Date(2026, 7, 21, 17, 0, 0, 0, time.UTC)
	loads := loadlog.New(loadlog.Options{Store: st})
	for at := start.AddDate(0, 0, -16); at.Before(start.Add(-before)); at = at.Add(2 * time.Second) {
		w := 1000.0
		if at.Day() == 20 {
			w = 3000
		}
		loads.Add(at, loadlog.Site, w, loadlog.Measured)
		if at.Minute() == 0 && at.Second() == 0 {
			if err := loads.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := &historied{slot: dispatch.Record{Timeslot: dispatch.Timeslot{MeterID: historiedMeter, EventID: "a",
		Start: start, End: start.Add(time.Hour)}, FirstSeen: start.Add(-24 * time.Hour)}}
	h.baseliner = baseliner{cfg: &config.Config{Site: config.Site{Timezone: time.UTC},
		Meters: []config.Meter{{ID: historiedMeter, Reference: config.ByBaseline, Baseline: "caiso-10-in-10"}}},
		log: slog.New(slog.DiscardHandler), loads: loads, store: st, events: newEvents(), schedule: &atomic.Pointer[dispatch.Schedule]{},
		now: func() time.Time { return start.Add(-30 * time.Minute) }, tried: map[string]attempt{}}
	h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{h.slot}))
	return h
}

// ev is the timeslot as the engine knows it.
func (h *historied) ev() baseline.Event {
	return baseline.Event{Start: h.slot.Start, End: h.slot.End, RowStart: h.slot.Start, RowEnd: h.slot.End}
}

// baselineW is what the planner is told of a timeslot that has begun.
func (h *historied) baselineW(t *testing.T, r dispatch.Record) float64 {
	t.Helper()
	if h.events.byID[r.EventID] == nil {
		h.events.open(r, r.Start, h.schedule.Load(), nothing)
	}
	b := h.events.forPlan(r.Start)[r.EventID].BaselineW
	if !b.OK {
		t.Fatalf("timeslot %s has no baseline", r.EventID)
	}
	return b.V
}

// Nine days of 1000 W and one of 3000 W are 1200 W in the mean; the event day
// drew 1000 W before the start, 1000 / 1200 = 0.833 of it: 1000 W.
func TestBaselineReachesThePlannerAndOutlivesARestart(t *testing.T) {
	h := newHistoried(t)
	h.round()
	if got := h.baselineW(t, h.slot); math.Abs(got-1000) > 0.5 {
		t.Errorf("got %v W, want 1000", got)
	}
	saved := h.events.unsaved(true)["a"]
	h.events = newEvents()
	if err := h.events.restore(saved, h.slot.Start); err != nil {
		t.Fatal(err)
	}
	if got := h.baselineW(t, h.slot); math.Abs(got-1000) > 0.5 {
		t.Errorf("after a restart: got %v W, want 1000", got)
	}
	if !h.events.hasBaseline(h.slot, h.slot.Start, h.now()) {
		t.Error("after a restart the baseline would be worked out again, in the timeslot")
	}
}

// The 20th had a timeslot: without it the mean is 1000 W and the factor 1.
func TestBaselineLeavesEventDaysOut(t *testing.T) {
	h := newHistoried(t)
	day := h.slot.Start.AddDate(0, 0, -1)
	before := newEvents()
	before.byID["b"] = &event{EventID: "b", MeterID: historiedMeter, Start: day, End: day.Add(time.Hour), Followed: true, changed: true}
	if err := h.store.AppendRows(eventsBucket, before.unsaved(true)); err != nil {
		t.Fatal(err)
	}
	h.round()
	e := h.events.estimates["a"]
	if e == nil || e.Factor != 1 || e.Days[0] != "2026-07-17" {
		t.Errorf("got %+v, want the 20th left out and a factor of 1", e)
	}
}

// A day counts for nothing when anything was dispatched behind the point that
// is measured: also for another meter, and on both sides of midnight.
func TestEventDaysAreAllThatWeShifted(t *testing.T) {
	h := newHistoried(t)
	late := time.Date(2026, 7, 15, 23, 30, 0, 0, time.UTC)
	h.events.byID["b"] = &event{EventID: "b", MeterID: "another", Start: late, End: late.Add(time.Hour), Followed: true, DeviceWh: map[string]float64{"wallbox": 900}}
	h.events.byID["c"] = &event{EventID: "c", MeterID: "another", Start: late.AddDate(0, 0, -3), End: late.AddDate(0, 0, -2)} // held back
	h.cfg.Devices = []config.Device{{Name: "wallbox", Kind: drivers.Charger}, {Name: "battery", Kind: drivers.Battery}}
	site := h.cfg.Meters[0]
	device := func(name string) config.Meter {
		return config.Meter{ID: "third", Type: config.DeviceMeter, Reference: config.ByBaseline, MeasuredBy: name, Devices: []string{"wallbox", "battery"}}
	}
	for _, c := range []struct {
		what string
		m    config.Meter
		want map[string]bool
	}{
		{"the site", site, map[string]bool{"2026-07-15": true, "2026-07-16": true}},
		{"the device that gave", device("wallbox"), map[string]bool{"2026-07-15": true, "2026-07-16": true}},
		{"a device that did not", device("battery"), map[string]bool{}},
		{"a submeter of the device that gave", config.Meter{ID: "fourth", Type: config.DeviceMeter, Reference: config.ByBaseline, MeasuredBy: "sub", Devices: []string{"wallbox"}},
			map[string]bool{"2026-07-15": true, "2026-07-16": true}},
	} {
		got, err := h.eventDays(c.m, h.ev())
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: got %v, %v; want %v", c.what, got, err, c.want)
		}
	}
}

func TestBaselineOfARowLooksBeforeItsFirst(t *testing.T) {
	h := newHistoried(t)
	next := h.slot
	next.EventID, next.Start, next.End = "b", h.slot.End, h.slot.End.Add(time.Hour)
	runs := func(records ...dispatch.Record) []run {
		return runsOf(h.slot.MeterID, dispatch.NewSchedule(records), plan.Policy{}, h.slot.Start.Add(-time.Hour), next.End)
	}
	if got := rowStart(next.Start, runs(h.slot, next)); !got.Equal(h.slot.Start) {
		t.Errorf("row starts at %v, want %v", got, h.slot.Start)
	}
	gone := h.slot
	gone.Cancelled, gone.CancelledAt = true, gone.Start.Add(-time.Hour)
	test := h.slot
	test.CommunicationTest = true
	for what, before := range map[string]dispatch.Record{"cancelled ahead": gone, "a test that is not carried out": test} {
		if got := rowStart(next.Start, runs(before, next)); !got.Equal(next.Start) {
			t.Errorf("after one that was %s the row starts at %v, want %v", what, got, next.Start)
		}
		if before.Start, before.End = next.End, next.End.Add(time.Hour); what == "cancelled ahead" {
			before.CancelledAt = next.Start
		}
		if got := rowEnd(next.End, runs(before, next)); !got.Equal(next.End) {
			t.Errorf("before one that was %s the row ends at %v, want %v", what, got, next.End)
		}
	}
}

// In its first days a site has no baseline; it goes by the load before the
// timeslot and does not try again and again.
func TestBaselineOfAYoungSiteIsNone(t *testing.T) {
	h := newHistoried(t)
	h.loads = loadlog.New(loadlog.Options{Store: forgetful{}})
	h.round()
	h.round()
	h.events.open(h.slot, h.slot.Start, h.schedule.Load(), nothing)
	if b := h.events.forPlan(h.slot.Start)["a"].BaselineW; b.OK {
		t.Errorf("got a baseline of %v W out of nothing", b.V)
	}
	if len(h.tried) != 1 {
		t.Errorf("tried: %v, want once", h.tried)
	}
}

// Until two hours after its end a timeslot's rebound is nobody's measure; then
// the load counts for two hours, and charging ahead of the next one rests.
func TestHoursAfterATimeslotThatCount(t *testing.T) {
	h := newHistoried(t)
	m := config.Meter{ID: historiedMeter, Reference: config.ByBaseline, Baseline: "caiso-5-in-10"}
	for after, want := range map[time.Duration]bool{0: false, 119 * time.Minute: false, 2 * time.Hour: true, 239 * time.Minute: true, 4 * time.Hour: false} {
		if got := inAfterWindow(m, h.schedule.Load(), plan.Policy{}, h.slot.End.Add(after)); got != want {
			t.Errorf("%v after the end: counts %v, want %v", after, got, want)
		}
	}
	m.Baseline = "caiso-10-in-10"
	if inAfterWindow(m, h.schedule.Load(), plan.Policy{}, h.slot.End.Add(3*time.Hour)) {
		t.Error("10-in-10 goes by no hour after the end")
	}
}

func TestWhenAnEstimateIsDue(t *testing.T) {
	row := time.Date(2026, 7, 21, 17, 0, 0, 0, time.UTC)
	for name, want := range map[string]time.Duration{"caiso-10-in-10": 59 * time.Minute, "caiso-5-in-10": 59 * time.Minute,
		"nyiso-average-day": 59 * time.Minute, "meter-before": 0, "pjm-match-day": 59 * time.Minute} {
		p, ok := baseline.Preset(name)
		if got := row.Sub(baselineDue(p, row)); !ok || got != want {
			t.Errorf("%s: due %v before the start, want %v", name, got, want)
		}
	}
}

// Highest five of ten days by 1000 W, one of them by 3000 W: 1400 W in the mean;
// 13:00 to 15:00 drew 1000 W, 1000 / 1400 = 0.714: 1000 W. From 19:00 to 23:00
// 1600 W are drawn, of which 19:00 to 20:00 and from 22:00 on do not count: 18:00
// is the end, so 20:00 to 22:00 do: (2 x 1000 + 2 x 1600) / 4 = 1300 W.
func TestBaselineIsEstimatedOnceMoreAfterTheEvent(t *testing.T) {
	h := newHistoried(t)
	h.cfg.Meters[0].Baseline = "caiso-5-in-10"
	h.round()
	if got := h.baselineW(t, h.slot); math.Abs(got-1000) > 0.5 {
		t.Errorf("before: got %v W, want 1000", got)
	}
	e := h.events.byID["a"]
	if e.Baseline.Note == "" || e.Baseline.Label == "" {
		t.Errorf("note %q and label %q, want both", e.Baseline.Note, e.Baseline.Label)
	}
	e.Followed = true
	for at := h.slot.End.Add(time.Hour); at.Before(h.slot.End.Add(5 * time.Hour)); at = at.Add(2 * time.Second) {
		h.loads.Add(at, loadlog.Site, 1600, loadlog.Measured)
	}
	if err := h.loads.Flush(); err != nil {
		t.Fatal(err)
	}
	h.now = func() time.Time { return h.slot.End.Add(4 * time.Hour) }
	h.round()
	if e.BaselineAfter != nil {
		t.Errorf("the last minute is not in the log yet: got %+v", e.BaselineAfter)
	}
	h.now = func() time.Time { return h.slot.End.Add(4*time.Hour + 2*time.Minute) }
	h.round()
	if got := e.BaselineAfter.At(h.slot.Start); math.Abs(got.V-1300) > 0.5 {
		t.Errorf("after: got %v W, want 1300 (%+v)", got, e.BaselineAfter)
	}
	if got := e.Baseline.At(h.slot.Start); math.Abs(got.V-1000) > 0.5 {
		t.Errorf("what control went by is now %v W, want the 1000 still", got)
	}
	raw := h.events.unsaved(true)["a"]
	if stored, err := decodeEvent(raw); err != nil || stored.BaselineAfter == nil {
		t.Errorf("stored: got %+v, %v", stored.BaselineAfter, err)
	}
}

// The next timeslot of the meter begins before the hours after have passed: the
// estimate is made without them.
func TestEstimateAfterEndsAtTheNextTimeslot(t *testing.T) {
	h := newHistoried(t)
	h.cfg.Meters[0].Baseline = "caiso-5-in-10"
	next := h.slot
	next.EventID, next.Start, next.End = "b", h.slot.End.Add(3*time.Hour), h.slot.End.Add(4*time.Hour)
	h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{h.slot, next}))
	if got := rowEnd(h.slot.End, runsOf(historiedMeter, h.schedule.Load(), plan.Policy{}, h.slot.Start, next.End)); !got.Equal(h.slot.End) {
		t.Errorf("row ends at %v, want %v", got, h.slot.End)
	}
	h.round()
	h.baselineW(t, h.slot)
	h.events.byID["a"].Followed = true
	h.now = func() time.Time { return next.Start.Add(2 * time.Minute) }
	h.round()
	after := h.events.byID["a"].BaselineAfter
	if after == nil || !after.Known.Equal(next.Start) || after.Note == "" {
		t.Errorf("got %+v, want one that knows the load until %v", after, next.Start)
	}
}

// Clocks in Havana go forward at midnight: the day has none.
func TestEventDaysOfAZoneWithoutMidnight(t *testing.T) {
	zone, err := time.LoadLocation("America/Havana")
	if err != nil {
		t.Skip("no time zones on this machine:", err)
	}
	h := newHistoried(t)
	h.cfg.Site.Timezone = zone
	start := time.Date(2026, 3, 7, 22, 0, 0, 0, zone)
	h.events.byID["b"] = &event{EventID: "b", MeterID: historiedMeter, Start: start, End: start.Add(4 * time.Hour), Followed: true}
	got, err := h.eventDays(h.cfg.Meters[0], h.ev())
	if want := (map[string]bool{"2026-03-07": true, "2026-03-08": true}); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// Leap moves a timeslot from 17:00 to 18:00 an hour before: its baseline goes by
// other hours then. Once it has begun it keeps the one that it has.
func TestBaselineIsMadeAnewForATimeslotThatMoves(t *testing.T) {
	h := newHistoried(t)
	h.slot.End = h.slot.Start.Add(3 * time.Hour)
	h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{h.slot}))
	h.round()
	first := h.events.estimates["a"]
	moved := h.slot
	moved.Start = h.slot.Start.Add(time.Hour)
	h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{moved}))
	h.now = func() time.Time { return moved.Start.Add(-30 * time.Minute) }
	h.round()
	second := h.events.estimates["a"]
	if second == first || !second.Start.Equal(moved.Start) || !second.MadeFor(moved.Start, moved.Start) {
		t.Fatalf("got %+v, want one for the start at %v", second, moved.Start)
	}
	h.now = func() time.Time { return moved.Start.Add(10 * time.Minute) }
	again := moved
	again.Start = moved.Start.Add(5 * time.Minute)
	h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{again}))
	h.round()
	if h.events.estimates["a"] != second {
		t.Error("a timeslot that has begun got another baseline")
	}
}

// A timeslot earlier on the day shifted the load of the hours before: they are
// left out, once it is known that it was followed.
func TestBaselineLeavesOutWhatAnEarlierTimeslotShifted(t *testing.T) {
	h := newHistoried(t)
	early := h.slot
	early.EventID, early.Start, early.End = "early", h.slot.Start.Add(-4*time.Hour), h.slot.Start.Add(-3*time.Hour)
	h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{early, h.slot}))
	h.events.byID["early"] = &event{EventID: "early", MeterID: historiedMeter, Start: early.Start, End: early.End, Followed: true}
	h.round()
	e := h.events.estimates["a"]
	if e == nil || e.Factor != 1 || !strings.Contains(e.Note, "another timeslot") {
		t.Errorf("got %+v, want no factor and why", e)
	}
}

// A timeslot that was cancelled while it ran has hours after it as well. What
// was not measured of them is looked for again.
func TestEstimateAfterACancellationAndWithLateLoad(t *testing.T) {
	h := newHistoried(t)
	h.cfg.Meters[0].Baseline = baseline.PJMSameDay
	h.round()
	h.baselineW(t, h.slot)
	e := h.events.byID["a"]
	e.Followed = true
	cancelled := h.slot
	cancelled.Cancelled, cancelled.CancelledAt = true, h.slot.Start.Add(30*time.Minute)
	h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{cancelled}))
	look := func(after time.Duration) {
		t.Helper()
		if err := h.loads.Flush(); err != nil {
			t.Fatal(err)
		}
		h.now = func() time.Time { return cancelled.CancelledAt.Add(after) }
		h.round()
	}
	look(3*time.Hour + 2*time.Minute)
	if e.BaselineAfter == nil || !e.BaselineAfter.Gaps {
		t.Fatalf("got %+v, want one that says that load is missing", e.BaselineAfter)
	}
	for at := cancelled.CancelledAt.Add(time.Hour); at.Before(cancelled.CancelledAt.Add(3 * time.Hour)); at = at.Add(2 * time.Second) {
		h.loads.Add(at, loadlog.Site, 2000, loadlog.Measured)
	}
	look(3*time.Hour + 30*time.Minute)
	if !e.BaselineAfter.Gaps {
		t.Error("made anew within the hour")
	}
	look(4*time.Hour + 5*time.Minute)
	// Three hours of 1000 W before and two of 2000 W after are 1400 W.
	if got := e.BaselineAfter.At(h.slot.Start); e.BaselineAfter.Gaps || math.Abs(got.V-1400) > 0.5 {
		t.Errorf("got %+v, want 1400 W", e.BaselineAfter)
	}
}

// nothing is no evidence.
func nothing(dispatch.Record) (drivers.Opt, map[string]drivers.Opt) { return drivers.Opt{}, nil }
