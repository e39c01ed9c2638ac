package baseline

import (
	"math"
	"strings"
	"testing"
	"time"
)

// An earlier timeslot of the day took 3 kW off from 13:00 to 15:00. The hours
// that it touched are no measure of the day: there is no factor, and the note
// says why. What goes by those hours alone is not measured.
func TestHoursThatAnotherTimeslotShiftedDoNotCount(t *testing.T) {
	z := zone(t)
	ev := event(z)
	cut := loads{w: func(at time.Time) float64 {
		if l := at.In(z); l.Day() == 21 && (l.Hour() == 13 || l.Hour() == 14) {
			return 2000
		}
		return 5000
	}}
	busy := func(from, to time.Time) bool {
		day := time.Date(2026, 7, 21, 0, 0, 0, 0, z)
		return from.Before(day.Add(15*time.Hour)) && to.After(day.Add(13*time.Hour))
	}
	for _, shifted := range []func(from, to time.Time) bool{nil, busy} {
		ev.Shifted = shifted
		e, err := Compute(caiso(t), z, ev, cut)
		if err != nil {
			t.Fatal(err)
		}
		want := 5000.0
		if shifted == nil { // (2 x 2 + 5) / 15 is 0.6, clamped to 0.8
			want = 4000
		}
		if math.Abs(e.W[0]-want) > 0.1 || strings.Contains(e.Note, "another timeslot") != (shifted != nil) {
			t.Errorf("%v W, note %q; want %v", e.W[0], e.Note, want)
		}
	}
	p, _ := Preset(MeterBefore)
	ev.Shifted = func(from, to time.Time) bool { return true }
	if _, err := Compute(p, z, ev, cut); err == nil {
		t.Error("the load of an hour that was shifted passes for the site's own")
	}
}

// From 23:00 to 01:00: a day of the history reads two dates. The 21st had a
// timeslot after midnight, so the 20th, whose second half lies there, is out.
func TestBothDatesOfANightCount(t *testing.T) {
	z := zone(t)
	ev := Event{Start: time.Date(2026, 7, 22, 23, 0, 0, 0, z), End: time.Date(2026, 7, 23, 1, 0, 0, 0, z)}
	ev.IsEventDay = func(noon time.Time) bool { return noon.In(z).Day() == 21 }
	night := loads{w: func(at time.Time) float64 {
		if l := at.In(z); l.Day() == 21 && l.Hour() == 0 {
			return 0
		}
		return 5000
	}}
	e, err := Compute(caiso(t), z, ev, night)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range e.W {
		if math.Abs(w-5000) > 0.1 {
			t.Errorf("quarter %d: %v W, want 5000 (days %v)", i, w, e.Days)
		}
	}
	if e.Days[0] != "2026-07-17" {
		t.Errorf("days %v, want neither the 21st nor the 20th", e.Days)
	}
}

// Hours of the day by which a like day is found were not measured: the estimate
// says so, so that it is made again should a counter bring them back. Those that
// have not passed are not missing.
func TestHoursThatLikeDaysAreFoundByMayBeMissing(t *testing.T) {
	z := zone(t)
	p, ok := Preset(PJMMatchDay)
	if !ok {
		t.Fatal("no such preset")
	}
	ev := event(z)
	for _, missing := range []bool{false, true} {
		e, err := Compute(p, z, ev, loads{w: func(time.Time) float64 { return 5000 }, missing: func(at time.Time) bool {
			l := at.In(z)
			return missing && l.YearDay() == ev.Start.In(z).YearDay() && l.Hour() == 3
		}})
		if err != nil {
			t.Fatal(err)
		}
		if e.Gaps != missing || strings.Contains(e.Note, "not measured in full") != missing {
			t.Errorf("gaps %v, note %q; want %v", e.Gaps, e.Note, missing)
		}
	}
}
