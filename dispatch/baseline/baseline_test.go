package baseline

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// loads is a history with a load for every moment; missing says which hours
// were not measured.
type loads struct {
	w       func(time.Time) float64
	missing func(time.Time) bool
}

func (l loads) MeanW(from, to time.Time) (float64, float64, error) {
	var sum, n, all float64
	for t := from; t.Before(to); t = t.Add(15 * time.Minute) {
		all++
		if l.missing == nil || !l.missing(t) {
			sum, n = sum+l.w(t), n+1
		}
	}
	if n == 0 {
		return 0, 0, nil
	}
	return sum / n, n / all, nil
}

func zone(t *testing.T) *time.Location {
	t.Helper()
	z, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		t.Skip("no time zones on this machine:", err)
	}
	return z
}

func caiso(t *testing.T) Params {
	t.Helper()
	p, ok := Preset(CAISO10in10)
	if !ok {
		t.Fatal("no preset caiso-10-in-10")
	}
	return p
}

// event is 17:00 to 19:00 on Tuesday, 21 July 2026, local time.
func event(z *time.Location) Event {
	return Event{Start: time.Date(2026, 7, 21, 17, 0, 0, 0, z), End: time.Date(2026, 7, 21, 19, 0, 0, 0, z)}
}

// Ten working days before 21 July: 7 to 10, 13 to 17 and 20 July. Day n of the
// month draws 1000 + 100 n W in the hour from 17, 2000 W in the hour from 18 and
// 800 W from 13 to 16; the event day 880 W from 13 to 16.
//
//	mean of n over 7..10, 13..17, 20 = (34 + 75 + 20) / 10 = 12.9
//	hour 17: 1000 + 1290 = 2290; factor 880 / 800 = 1.1: 2519.0
//	hour 18: 2000 x 1.1 = 2200.0
func worked(z *time.Location) loads {
	return loads{w: func(at time.Time) float64 {
		l := at.In(z)
		switch h := l.Hour(); {
		case h == 17:
			return 1000 + 100*float64(l.Day())
		case h == 18:
			return 2000
		case l.Day() == 21:
			return 880
		}
		return 800
	}}
}

func TestWorkedExample(t *testing.T) {
	z := zone(t)
	e, err := Compute(caiso(t), z, event(z), worked(z))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Days) != 10 || e.Days[0] != "2026-07-20" || e.Days[9] != "2026-07-07" {
		t.Errorf("days: got %v, want the ten working days from 20 back to 7 July", e.Days)
	}
	for at, want := range map[string]float64{"17:00": 2519, "17:59": 2519, "18:00": 2200, "18:59": 2200} {
		clock, err := time.Parse("15:04", at)
		if err != nil {
			t.Fatal(err)
		}
		got := e.At(time.Date(2026, 7, 21, clock.Hour(), clock.Minute(), 0, 0, z))
		if !got.OK || math.Abs(got.V-want) > 0.1 {
			t.Errorf("baseline at %s: got %v W, want %v", at, got, want)
		}
	}
	if math.Abs(e.Factor-1.1) > 1e-9 || e.Clamped {
		t.Errorf("factor: got %v (clamped %v), want 1.1", e.Factor, e.Clamped)
	}
	if got := e.At(event(z).End); got.OK {
		t.Errorf("after the end: got %v, want unknown", got)
	}
}

func TestFactorIsClamped(t *testing.T) {
	z := zone(t)
	for today, want := range map[float64]float64{1600: 1.2, 100: 0.8} {
		h := worked(z)
		before := h.w
		h.w = func(at time.Time) float64 {
			if l := at.In(z); l.Day() == 21 && l.Hour() < 17 {
				return today
			}
			return before(at)
		}
		e, err := Compute(caiso(t), z, event(z), h)
		if err != nil {
			t.Fatal(err)
		}
		if e.Factor != want || !e.Clamped {
			t.Errorf("%v W before the start: factor %v, clamped %v; want %v, clamped", today, e.Factor, e.Clamped, want)
		}
	}
}

// An event day is left out: 20 July goes, 6 July comes in, and the mean of n is
// (34 + 75 + 6) / 10 = 11.5: 2150 x 1.1 = 2365.0 W.
func TestEventDaysAreLeftOut(t *testing.T) {
	z := zone(t)
	ev := event(z)
	ev.IsEventDay = func(noon time.Time) bool { return noon.Day() == 20 }
	e, err := Compute(caiso(t), z, ev, worked(z))
	if err != nil {
		t.Fatal(err)
	}
	if got := e.At(ev.Start); math.Abs(got.V-2365) > 0.1 {
		t.Errorf("got %v W, want 2365 of the days %v", got.V, e.Days)
	}
}

// Three quiet days are too few; the two event days of the highest load fill up.
func TestFirstWeekIsFilledWithEventDays(t *testing.T) {
	z := zone(t)
	ev, h := event(z), worked(z)
	h.missing = func(at time.Time) bool { return at.Before(time.Date(2026, 7, 13, 0, 0, 0, 0, z)) }
	ev.IsEventDay = func(noon time.Time) bool { return noon.Day() <= 15 }
	e, err := Compute(caiso(t), z, ev, h)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2026-07-20", "2026-07-17", "2026-07-16", "2026-07-15", "2026-07-14"}
	for i, d := range want {
		if len(e.Days) != len(want) || e.Days[i] != d {
			t.Fatalf("days: got %v, want %v", e.Days, want)
		}
	}
	h.missing = func(at time.Time) bool { return at.Before(time.Date(2026, 7, 16, 0, 0, 0, 0, z)) }
	var little TooLittle
	if _, err := Compute(caiso(t), z, ev, h); !errors.As(err, &little) || little.Found != 3 || little.Needed != 5 {
		t.Errorf("three days: got %v, want 3 found and 5 needed", err)
	}
}

func TestGapsLeaveADayOut(t *testing.T) {
	z := zone(t)
	h := worked(z)
	h.missing = func(at time.Time) bool { l := at.In(z); return l.Day() == 17 && l.Hour() == 18 && l.Minute() == 30 }
	e, err := Compute(caiso(t), z, event(z), h)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Days) != 10 || e.Days[1] != "2026-07-16" || e.Days[9] != "2026-07-06" {
		t.Errorf("days: got %v, want 17 July left out and 6 July taken", e.Days)
	}
}

// Saturday, 25 July: the four off-days before it are 19, 18, 12 and 11 July.
func TestWeekendTakesWeekends(t *testing.T) {
	z := zone(t)
	ev := Event{Start: time.Date(2026, 7, 25, 17, 0, 0, 0, z), End: time.Date(2026, 7, 25, 18, 0, 0, 0, z)}
	e, err := Compute(caiso(t), z, ev, worked(z))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Days) != 4 || e.Days[0] != "2026-07-19" || e.Days[3] != "2026-07-11" {
		t.Errorf("days: got %v, want 19, 18, 12 and 11 July", e.Days)
	}
}

func TestHolidays(t *testing.T) {
	off := []string{"2026-01-01", "2026-05-25", "2026-07-04", "2026-09-07", "2026-11-26", "2026-12-25", "2027-07-05", "2022-12-26", "2023-01-02", "2026-07-18"}
	on := []string{"2026-05-18", "2026-07-03", "2026-09-14", "2026-11-19", "2026-11-27", "2026-12-24", "2026-07-06", "2027-01-04"}
	for want, days := range map[bool][]string{true: off, false: on} {
		for _, s := range days {
			d, err := time.Parse(time.DateOnly, s)
			if err != nil {
				t.Fatal(err)
			}
			if got := IsOffDay(d); got != want {
				t.Errorf("%s: off %v, want %v", s, got, want)
			}
		}
	}
}

// The clock changes on 8 March and on 1 November 2026; an event at 17:00 local
// time still compares with 17:00 local time.
func TestClockChangesKeepTheLocalHour(t *testing.T) {
	z := zone(t)
	h := loads{w: func(at time.Time) float64 { return 100 * float64(at.In(z).Hour()) }}
	for _, start := range []time.Time{time.Date(2026, 3, 9, 17, 0, 0, 0, z), time.Date(2026, 11, 2, 17, 0, 0, 0, z)} {
		e, err := Compute(caiso(t), z, Event{Start: start, End: start.Add(time.Hour)}, h)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.At(start); math.Abs(got.V-1700) > 0.1 {
			t.Errorf("%v: got %v W, want the 1700 of 17:00", start, got.V)
		}
	}
}

func TestRowIsAdjustedBeforeItsFirst(t *testing.T) {
	z := zone(t)
	ev := event(z)
	ev.RowStart = ev.Start.Add(-3 * time.Hour) // the window is 10:00 to 13:00
	h := worked(z)
	before := h.w
	h.w = func(at time.Time) float64 {
		if l := at.In(z); l.Day() == 21 && l.Hour() >= 14 {
			return -5000 // the row itself
		}
		return before(at)
	}
	e, err := Compute(caiso(t), z, ev, h)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(e.Factor-1.1) > 1e-9 {
		t.Errorf("factor %v, want the 1.1 of before the row", e.Factor)
	}
}

func TestNoFactorWhereTheSiteFeedsIn(t *testing.T) {
	z := zone(t)
	h := loads{w: func(at time.Time) float64 {
		if h := at.In(z).Hour(); h >= 10 && h < 17 {
			return -3000
		}
		return 1500
	}}
	e, err := Compute(caiso(t), z, event(z), h)
	if err != nil {
		t.Fatal(err)
	}
	if e.Factor != 1 || e.Note == "" {
		t.Errorf("factor %v, note %q; want 1 and why", e.Factor, e.Note)
	}
}

func TestScalesWithItsHistory(t *testing.T) {
	z := zone(t)
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Preset(CAISO10in10)
		level := rapid.Float64Range(-1e5, 1e5).Draw(t, "level")
		times := rapid.Float64Range(0.1, 10).Draw(t, "times")
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, z).Add(time.Duration(rapid.IntRange(60*24, 500*24*60).Draw(t, "minute")) * time.Minute)
		ev := Event{Start: start, End: start.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)}
		at := func(factor float64) float64 {
			e, err := Compute(p, z, ev, loads{w: func(time.Time) float64 { return factor * level }})
			if err != nil {
				t.Fatal(err)
			}
			got := e.At(ev.Start)
			if !got.OK {
				t.Fatalf("no baseline at the start of %v", ev)
			}
			if last := e.At(ev.End.Add(-time.Second)); !last.OK {
				t.Fatalf("no baseline at the end of %v", ev)
			}
			return got.V
		}
		if got := at(1); math.Abs(got-level) > 1e-6*math.Abs(level) {
			t.Fatalf("a flat history of %v W gives %v", level, got)
		}
		if got := at(times); math.Abs(got-times*level) > 1e-6*math.Abs(times*level) {
			t.Fatalf("a history %v times as large gives %v, want %v", times, got, times*level)
		}
	})
}
