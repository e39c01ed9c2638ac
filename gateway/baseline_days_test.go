package gateway

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/gateway/loadlog"
)

// A day with a timeslot of the meter is an event day, also where the owner's
// STOP or a dead gateway kept it from being followed; one with a test that is
// never carried out is none.
func TestEventDaysAreAlsoThoseNotFollowed(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*dispatch.Record)
		out    bool
	}{
		"not followed":    {func(*dispatch.Record) {}, true},
		"a dry test":      {func(r *dispatch.Record) { r.CommunicationTest = true }, false},
		"cancelled ahead": {func(r *dispatch.Record) { r.Cancelled, r.CancelledAt = true, r.Start.Add(-time.Hour) }, false},
		"another's":       {func(r *dispatch.Record) { r.MeterID = "other" }, false},
	} {
		h := newHistoried(t)
		before := h.slot
		before.EventID, before.Start, before.End = "b", h.slot.Start.AddDate(0, 0, -1), h.slot.End.AddDate(0, 0, -1)
		c.change(&before)
		h.schedule.Store(dispatch.NewSchedule([]dispatch.Record{before, h.slot}))
		h.round()
		e := h.events.estimates["a"]
		if e == nil || (e.Days[0] != "2026-07-20") != c.out {
			t.Errorf("%s: %+v, want the 20th left out: %v", what, e, c.out)
		}
	}
}

// A method that goes by hours before the start alone: the meter was silent in
// some of them, and its counters bring them back after the estimate. The report
// gets an estimate with them; control's stays. When nothing more comes, nothing
// is made again.
func TestEstimateWithLateLoadBeforeTheStart(t *testing.T) {
	h := newHistoriedUntil(t, 4*time.Hour)
	h.round()
	if w := h.baselineW(t, h.slot); math.Abs(w-1200) > 0.5 {
		t.Fatalf("%v W, want the 1200 of the days alone", w)
	}
	e := h.events.byID["a"]
	if e.Followed = true; !e.Baseline.Gaps {
		t.Fatalf("%+v, want it to say that load is missing", e.Baseline)
	}
	at := func(after time.Duration) {
		h.now = func() time.Time { return h.slot.End.Add(after) }
		h.round()
	}
	at(2 * time.Minute)
	if e.BaselineAfter != nil {
		t.Fatalf("%+v, want none: nothing came", e.BaselineAfter)
	}
	for at := h.slot.Start.Add(-4 * time.Hour); at.Before(h.slot.Start.Add(-time.Hour)); at = at.Add(2 * time.Second) {
		h.loads.Add(at, loadlog.Site, 600, loadlog.Measured)
	}
	if err := h.loads.Flush(); err != nil {
		t.Fatal(err)
	}
	at(2 * time.Hour)
	if got := e.BaselineAfter.At(h.slot.Start); !got.OK || math.Abs(got.V-960) > 0.5 || e.BaselineAfter.Gaps { // 600 / 1200 is below the least factor, 0.8
		t.Fatalf("%+v, want 0.8 times 1200 W", e.BaselineAfter)
	}
	made := e.BaselineAfter
	at(5 * time.Hour)
	if e.BaselineAfter != made {
		t.Error("made again though nothing was missing")
	}
}

// While nothing comes in, an estimate that lacks load is not replaced by the same.
func TestEstimateThatStaysTheSameIsKept(t *testing.T) {
	h := newHistoried(t)
	h.cfg.Meters[0].Baseline = baseline.PJMSameDay
	h.round()
	h.baselineW(t, h.slot)
	e := h.events.byID["a"]
	e.Followed = true
	for _, after := range []time.Duration{4 * time.Hour, 6 * time.Hour, 9 * time.Hour} {
		h.now = func() time.Time { return h.slot.End.Add(after) }
		made := e.BaselineAfter
		h.round()
		if e.BaselineAfter == nil || !e.BaselineAfter.Gaps {
			t.Fatalf("%v after: %+v, want one that lacks load", after, e.BaselineAfter)
		}
		if made != nil && made != e.BaselineAfter {
			t.Errorf("%v after: made anew, known to %v, was %v", after, e.BaselineAfter.Known, made.Known)
		}
	}
}

// The machine stands still from before the end until a week later: the report is
// fixed then, and only then the event leaves the memory.
func TestReportIsFixedAfterAWeekOff(t *testing.T) {
	k := newKept(t)
	raw := k.Gateway.events.unsaved(true)
	if len(raw) == 0 {
		k.Gateway.events.byID["e"].changed = true
		raw = k.Gateway.events.unsaved(true)
	}
	k.now = k.slot.End.Add(7 * 24 * time.Hour)
	clear(k.Gateway.events.byID)
	if err := k.Gateway.events.restore(raw["e"], k.now); err != nil {
		t.Fatal(err)
	}
	k.Gateway.events.forget(k.now.Add(-keptInMemory))
	k.round()
	if rep := k.read(t); rep.Revision != 1 || !approx(rep.DeliveredKWh, 2) {
		t.Errorf("%+v, want the report fixed", rep)
	}
	k.Gateway.events.forget(k.now.Add(-keptInMemory))
	if len(k.Gateway.events.byID) != 0 {
		t.Error("it stays in memory though its report is fixed")
	}
}
